"""Facts about people and the scene, each with who said it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from db.channels import Channel
from db.connection import DatabaseError, SerialConnection
from db.values import storable

MOST = 200  # facts of one character in one channel


@dataclass(frozen=True, slots=True)
class Fact:
    """What one person said to one character in one channel."""

    id: int
    text: str
    author_key: str
    author_name: str
    message_id: int | None  # where it was said; None: it was given by a command
    pinned: bool
    created_at: float  # Unix seconds


class Facts:
    """The store of facts, by channel and persona.

    A fact is known in the scene it was learnt in, a pinned one in later scenes too. It goes with
    the message it was said in. Every method raises `DatabaseError`.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def of(self, channel: Channel, persona: str) -> list[Fact]:
        """What the character knows in the present scene, in the order in which it learnt it."""
        persona = storable(persona)
        rows = await self._connection.rows(
            OF, (channel.id, persona, channel.scene_start, channel.id, persona)
        )
        return sorted(map(_fact, rows), key=lambda fact: fact.id)

    async def add(
        self,
        channel: Channel,
        persona: str,
        text: str,
        *,
        author_key: str,
        author_name: str,
        at: float,
        message_id: int | None = None,
        pinned: bool = False,
    ) -> Fact | None:
        """Learn something; None if it is known already, word for word, from the same person.

        A message that is gone, or was said elsewhere, teaches nothing either. Of too many facts
        the oldest that is not pinned makes room; a `DatabaseError` if all are pinned.
        """
        async with self._connection.transaction() as connection:
            known = await self.of(channel, persona)
            if any((f.text, f.author_key) == (storable(text), storable(author_key)) for f in known):
                return None
            if len(known) >= MOST:
                await self._make_room(known)
            added = await connection.execute_fetchall(
                """INSERT INTO facts (channel_id, persona, scene_start, text, author_key,
                                      author_name, message_id, pinned, created_at)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                   WHERE ?7 IS NULL
                      OR EXISTS (SELECT 1 FROM messages WHERE id = ?7 AND channel_id = ?1)
                   RETURNING *""",
                (
                    *(channel.id, storable(persona), channel.scene_start, storable(text)),
                    *(storable(author_key), storable(author_name), message_id, pinned, at),
                ),
            )
            return next((_fact(row) for row in added), None)

    async def pin(self, channel: Channel, persona: str, fact_id: int, *, pinned: bool) -> Fact:
        """Keep a fact in later scenes, too, or no longer. A `DatabaseError` if it is unknown."""
        async with self._connection.transaction() as connection:
            fact = await self._get(channel, persona, fact_id)
            changed = await connection.execute_fetchall(
                "UPDATE facts SET pinned = ? WHERE id = ? RETURNING *", (pinned, fact.id)
            )
            return _fact(next(iter(changed)))

    async def correct(
        self,
        channel: Channel,
        persona: str,
        fact_id: int,
        text: str,
        *,
        author_key: str,
        author_name: str,
        at: float,
    ) -> Fact:
        """Put a fact otherwise; whoever corrects it is who said so from now on."""
        async with self._connection.transaction() as connection:
            fact = await self._get(channel, persona, fact_id)
            changed = await connection.execute_fetchall(
                """UPDATE facts SET text = ?, author_key = ?, author_name = ?, message_id = NULL,
                                    created_at = ? WHERE id = ? RETURNING *""",
                (storable(text), storable(author_key), storable(author_name), at, fact.id),
            )
            return _fact(next(iter(changed)))

    async def forget(self, channel: Channel, persona: str, fact_id: int) -> Fact:
        """Delete a fact and return it. A `DatabaseError` if it is unknown here."""
        async with self._connection.transaction() as connection:
            fact = await self._get(channel, persona, fact_id)
            await connection.execute_fetchall("DELETE FROM facts WHERE id = ?", (fact.id,))
            return fact

    async def _get(self, channel: Channel, persona: str, fact_id: int) -> Fact:
        for fact in await self.of(channel, persona):
            if fact.id == fact_id:
                return fact
        raise DatabaseError(f"There is no fact {fact_id} here; /memory list shows those there are.")

    async def _make_room(self, known: list[Fact]) -> None:
        loose = [fact.id for fact in known if not fact.pinned]
        if not loose:
            raise DatabaseError(
                f"All {MOST} facts that a character can keep here are pinned; forget one first."
            )
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall("DELETE FROM facts WHERE id = ?", (loose[0],))


# Two searches, so that each has its index.
OF = """
    SELECT * FROM facts WHERE channel_id = ? AND persona = ? AND scene_start = ?
    UNION SELECT * FROM facts WHERE channel_id = ? AND persona = ? AND pinned = 1"""


def _fact(row: sqlite3.Row) -> Fact:
    return Fact(
        id=row["id"],
        text=row["text"],
        author_key=row["author_key"],
        author_name=row["author_name"],
        message_id=row["message_id"],
        pinned=bool(row["pinned"]),
        created_at=row["created_at"],
    )
