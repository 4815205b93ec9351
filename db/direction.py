"""What people add to a character's prompts: an author's note, and the lorebook of a channel."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from db.channels import Channel
from db.connection import DatabaseError, SerialConnection
from db.values import storable

MOST_LORE = 200  # entries of one channel


@dataclass(frozen=True, slots=True)
class AuthorNote:
    """A remark that stands `depth` messages before the end of every prompt."""

    text: str
    depth: int
    written_by: str  # author key


@dataclass(frozen=True, slots=True)
class Lore:
    """One entry of a channel's lorebook; without keys it is always in the prompt."""

    id: int
    keys: tuple[str, ...]
    text: str
    written_by: str  # author key


class Direction:
    """The store of notes (by channel and persona) and lore (by channel).

    Every method raises `DatabaseError`.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def note(self, channel: Channel, persona: str) -> AuthorNote | None:
        """The note for a character in a channel."""
        rows = await self._connection.rows(
            "SELECT * FROM author_notes WHERE channel_id = ? AND persona = ?",
            (channel.id, storable(persona)),
        )
        for row in rows:
            return AuthorNote(row["text"], row["depth"], row["written_by"])
        return None

    async def set_note(
        self, channel: Channel, persona: str, text: str, *, depth: int, by: str, at: float
    ) -> None:
        """Put a note in the place of the one before; an empty text takes it away."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "DELETE FROM author_notes WHERE channel_id = ? AND persona = ?",
                (channel.id, storable(persona)),
            )
            if text:
                await connection.execute_fetchall(
                    """INSERT INTO author_notes (channel_id, persona, text, depth, written_by,
                                                 written_at) VALUES (?, ?, ?, ?, ?, ?)""",
                    (channel.id, storable(persona), storable(text), depth, storable(by), at),
                )

    async def lore(self, channel: Channel) -> list[Lore]:
        """The channel's entries, oldest first."""
        rows = await self._connection.rows(
            "SELECT * FROM lore WHERE channel_id = ? ORDER BY id", (channel.id,)
        )
        return [_lore(row) for row in rows]

    async def add_lore(
        self, channel: Channel, keys: Sequence[str], text: str, *, by: str, at: float
    ) -> Lore:
        """Add an entry. A `DatabaseError` if the channel has as many as it can."""
        async with self._connection.transaction() as connection:
            if len(await self.lore(channel)) >= MOST_LORE:
                raise DatabaseError(
                    f"This channel has {MOST_LORE} entries of lore, which is the most; remove one."
                )
            [row] = await connection.execute_fetchall(
                """INSERT INTO lore (channel_id, keys, text, written_by, written_at)
                   VALUES (?, ?, ?, ?, ?) RETURNING *""",
                (
                    channel.id,
                    storable(json.dumps(list(keys), ensure_ascii=False)),
                    storable(text),
                    storable(by),
                    at,
                ),
            )
            return _lore(row)

    async def remove_lore(self, channel: Channel, lore_id: int) -> Lore:
        """Delete an entry and return it. A `DatabaseError` if the channel has no such entry."""
        async with self._connection.transaction() as connection:
            gone = await connection.execute_fetchall(
                "DELETE FROM lore WHERE id = ? AND channel_id = ? RETURNING *",
                (lore_id, channel.id),
            )
            for row in gone:
                return _lore(row)
        raise DatabaseError(f"There is no lore {lore_id} here; /lore list shows what there is.")


def _lore(row: sqlite3.Row) -> Lore:
    return Lore(
        id=row["id"],
        keys=tuple(json.loads(row["keys"])),
        text=row["text"],
        written_by=row["written_by"],
    )
