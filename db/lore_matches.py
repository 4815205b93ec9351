"""Which entries of lorebooks earlier prompts of a scene had, by channel, persona and question."""

from __future__ import annotations

from collections.abc import Iterable

from db.channels import Channel
from db.connection import SerialConnection
from db.values import storable


class LoreMatches:
    """The store of matches. One goes with its question. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def before(self, channel: Channel, persona: str, question: int) -> frozenset[str]:
        """The keys of entries that came up with questions of the scene before this one."""
        rows = await self._connection.rows(
            """SELECT entry FROM lore_matches
               WHERE channel_id = ? AND persona = ? AND message_id > ? AND message_id < ?""",
            (channel.id, storable(persona), channel.scene_start, question),
        )
        return frozenset(row["entry"] for row in rows)

    async def add(
        self, channel: Channel, persona: str, question: int, entries: Iterable[str]
    ) -> None:
        """The entries came up with this question; nothing happens if that is gone or known."""
        async with self._connection.transaction() as connection:
            await connection.executemany(
                """INSERT OR IGNORE INTO lore_matches (channel_id, persona, message_id, entry)
                   SELECT channel_id, ?, id, ? FROM messages WHERE id = ? AND channel_id = ?""",
                [(storable(persona), entry, question, channel.id) for entry in entries],
            )
