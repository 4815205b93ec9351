"""What people think of replies: other ways in which one was put, and 👍 and 👎."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import aiosqlite

from db.connection import DatabaseError, SerialConnection
from db.message_record import SELECT_MESSAGE, Message, message_from
from db.values import storable, storable_or_none, to_json


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to put a character's message; the chosen one is what is shown and remembered."""

    id: int
    message_id: int
    content: str
    adapter: str | None
    sampling: dict[str, object] | None
    finish_reason: str | None
    created_at: float  # Unix seconds
    chosen: bool


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person thinks of one reply. `variant_id` is None if it was never put otherwise."""

    message_id: int
    variant_id: int | None
    voter_key: str
    liked: bool
    created_at: float  # Unix seconds


class Feedback:
    """The store of variants and votes. Every method raises `DatabaseError`.

    Both go with their message. The variants that are not shown also go with the message that they
    answered: without it they could neither be shown nor learnt from.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def add_variant(
        self,
        message_id: int,
        content: str,
        *,
        adapter: str | None,
        sampling: dict[str, object] | None,
        finish_reason: str | None,
        created_at: float,
    ) -> Variant:
        """Store another way to put a character's message; `choose` it to have it remembered.

        With the first one, the message as it stands becomes a variant too, the chosen one, and the
        votes on it follow. A `DatabaseError` if the message is gone or a person's.
        """
        async with self._connection.transaction() as connection:
            await keep_present_text(connection, message_id)
            added = await connection.execute_fetchall(
                """INSERT INTO variants (message_id, channel_id, content, adapter, sampling,
                                         finish_reason, created_at)
                   SELECT id, channel_id, ?, ?, ?, ?, ? FROM messages
                   WHERE id = ? AND role = 'character' RETURNING *""",
                (
                    storable(content),
                    storable_or_none(adapter),
                    None if sampling is None else to_json(sampling),
                    storable_or_none(finish_reason),
                    created_at,
                    message_id,
                ),
            )
            for row in added:
                return _variant(row)
        raise DatabaseError(
            f"There is no reply with the id {message_id} (any more), so it cannot be put otherwise."
        )

    async def variants(self, message_id: int) -> list[Variant]:
        """The ways in which a message was put, oldest first; none if there is only one."""
        rows = await self._connection.rows(OF_MESSAGE, (message_id,))
        return [_variant(row) for row in rows]

    async def of_channel(self, channel_id: int) -> list[Variant]:
        """The variants of all messages of a channel, message by message, each oldest first."""
        rows = await self._connection.rows(OF_CHANNEL, (channel_id,))
        return [_variant(row) for row in rows]

    async def choose(self, variant_id: int) -> Message:
        """Let the message say what this variant says, and return it; other variants stay.

        What was made of the variant chosen until now, by an edit for instance, stays with that one.
        A `DatabaseError` if the variant is gone or its message is still being written.
        """
        async with self._connection.transaction() as connection:
            found = await connection.execute_fetchall(MESSAGE_OF_VARIANT, (variant_id,))
            for row in found:
                message = message_from(row)
                break
            else:
                raise DatabaseError(
                    "That version of the reply is gone, because what it belonged to was deleted."
                )
            if message.state == "streaming":
                raise DatabaseError(
                    "The reply is still being written; choose a version of it when it is complete."
                )
            await connection.execute_fetchall(LET_GO, (message.id, variant_id))
            await connection.execute_fetchall(TAKE_UP, (variant_id,))
            await connection.execute_fetchall(
                "UPDATE variants SET chosen = 1, content = NULL WHERE id = ?", (variant_id,)
            )
            [row] = await connection.execute_fetchall(MESSAGE_OF_VARIANT, (variant_id,))
            return message_from(row)

    async def vote(
        self, message_id: int, *, voter_key: str, liked: bool | None, created_at: float
    ) -> None:
        """A person's 👍 (True) or 👎 (False) for a reply as it stands now; None takes it back.

        Everybody has one vote on a message, the latest one; one older than the stored is void.
        Does nothing when the message is gone or a person's.
        """
        voter_key = storable(voter_key)
        async with self._connection.transaction() as connection:
            if liked is None:
                await connection.execute_fetchall(
                    "DELETE FROM votes WHERE message_id = ? AND voter_key = ? AND created_at <= ?",
                    (message_id, voter_key, created_at),
                )
                return
            await connection.execute_fetchall(
                """INSERT INTO votes (message_id, voter_key, channel_id, variant_id, liked,
                                      created_at)
                   SELECT m.id, ?, m.channel_id, v.id, ?, ?
                   FROM messages AS m
                   LEFT JOIN variants AS v ON v.message_id = m.id AND v.chosen = 1
                   WHERE m.id = ? AND m.role = 'character'
                   ON CONFLICT (message_id, voter_key) DO UPDATE
                   SET liked = excluded.liked, variant_id = excluded.variant_id,
                       created_at = excluded.created_at
                   WHERE created_at <= excluded.created_at""",
                (voter_key, liked, created_at, message_id),
            )

    async def votes(self, channel_id: int) -> dict[int, tuple[int, int]]:
        """Message id → (👍, 👎) of those who let it be learnt from, for every message that has any.

        Whoever is blocked on the server has no say either.
        Votes on a variant that is not chosen any more say nothing of what the message says now, so
        they do not count here.
        """
        rows = await self._connection.rows(COUNTED, (channel_id,))
        return {row["message_id"]: (row["liked"], row["disliked"]) for row in rows}

    async def votes_cast(self, channel_id: int) -> list[Vote]:
        """Every single vote in a channel, on variants that are not chosen too, message by message.

        Also of those who opted out of training: `Consent.opted_out` tells who they are.
        """
        rows = await self._connection.rows(CAST, (channel_id,))
        return [
            Vote(
                message_id=row["message_id"],
                variant_id=row["variant_id"],
                voter_key=row["voter_key"],
                liked=bool(row["liked"]),
                created_at=row["created_at"],
            )
            for row in rows
        ]


# The chosen variant is what the message is, whatever became of that since.
SELECT_VARIANT = """
    SELECT v.id, v.message_id, v.created_at, v.chosen,
           iif(v.chosen, m.content, v.content) AS content,
           iif(v.chosen, m.adapter, v.adapter) AS adapter,
           iif(v.chosen, m.sampling, v.sampling) AS sampling,
           iif(v.chosen, m.finish_reason, v.finish_reason) AS finish_reason
    FROM variants AS v JOIN messages AS m ON m.id = v.message_id"""
OF_MESSAGE = f"{SELECT_VARIANT} WHERE v.message_id = ? ORDER BY v.id"
OF_CHANNEL = f"{SELECT_VARIANT} WHERE v.channel_id = ? ORDER BY v.message_id, v.id"
MESSAGE_OF_VARIANT = f"{SELECT_MESSAGE} WHERE m.id = (SELECT message_id FROM variants WHERE id = ?)"
# The message's own text and making go back to the variant that it was so far ...
LET_GO = """
    UPDATE variants
    SET chosen = 0, content = m.content, adapter = m.adapter, sampling = m.sampling,
        finish_reason = m.finish_reason
    FROM messages AS m
    WHERE variants.message_id = ? AND variants.chosen = 1 AND variants.id <> ?
      AND m.id = variants.message_id"""
# ... and the new variant's come to it; one that is chosen already has none of its own.
TAKE_UP = """
    UPDATE messages
    SET content = v.content, adapter = v.adapter, sampling = v.sampling,
        finish_reason = v.finish_reason
    FROM variants AS v
    WHERE v.id = ? AND v.chosen = 0 AND messages.id = v.message_id"""
COUNTED = """
    SELECT v.message_id, sum(v.liked) AS liked, sum(1 - v.liked) AS disliked
    FROM votes AS v
    LEFT JOIN variants AS shown ON shown.message_id = v.message_id AND shown.chosen = 1
    WHERE v.channel_id = ? AND v.variant_id IS shown.id AND NOT EXISTS
        (SELECT 1 FROM author_consent AS c WHERE c.author_key = v.voter_key AND c.allowed = 0)
      AND NOT EXISTS
        (SELECT 1 FROM blocks AS b JOIN channels AS c ON c.guild_key = b.guild_key
         WHERE b.author_key = v.voter_key AND c.id = v.channel_id)
    GROUP BY v.message_id"""
CAST = "SELECT * FROM votes WHERE channel_id = ? ORDER BY message_id, voter_key"


def _variant(row: sqlite3.Row) -> Variant:
    return Variant(
        id=row["id"],
        message_id=row["message_id"],
        content=row["content"],
        adapter=row["adapter"],
        sampling=None if row["sampling"] is None else json.loads(row["sampling"]),
        finish_reason=row["finish_reason"],
        created_at=row["created_at"],
        chosen=bool(row["chosen"]),
    )


async def keep_present_text(connection: aiosqlite.Connection, message_id: int) -> None:
    """Make the message as it stands its own first variant, unless it has some already."""
    kept = await connection.execute_fetchall(
        """INSERT INTO variants (message_id, channel_id, chosen, adapter, sampling, finish_reason,
                                 created_at)
           SELECT id, channel_id, 1, adapter, sampling, finish_reason, created_at FROM messages
           WHERE id = ? AND role = 'character'
             AND NOT EXISTS (SELECT 1 FROM variants WHERE message_id = messages.id)
           RETURNING id""",
        (message_id,),
    )
    for row in kept:
        await connection.execute_fetchall(
            "UPDATE votes SET variant_id = ? WHERE message_id = ?", (row["id"], message_id)
        )
