"""What characters said: to which question, and when last anybody said something."""

from __future__ import annotations

from db.channels import Channel
from db.connection import SerialConnection
from db.message_record import SELECT_MESSAGE, Message, message_from
from db.values import storable


class Speech:
    """Questions about characters' messages. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def newest(self, channel_id: int) -> Message | None:
        """What a character of this channel said last, in whichever scene; None if none ever did.

        A reply that shows nothing yet does not count.
        """
        rows = await self._connection.rows(NEWEST, (channel_id,))
        return message_from(rows[0]) if rows else None

    async def replies_to(self, message_id: int) -> list[Message]:
        """What characters said to this message, oldest first."""
        rows = await self._connection.rows(REPLIES_TO, (message_id,))
        return [message_from(row) for row in rows]

    async def replies_before(self, channel: Channel, persona: str, place: int) -> int:
        """How often this character spoke in the present scene before `place`."""
        rows = await self._connection.rows(
            REPLIES_BEFORE, (channel.id, storable(persona), channel.scene_start, place)
        )
        return int(rows[0]["replies"])

    async def scene_began(self, channel: Channel) -> float | None:
        """When the first that is left of the present scene was said; None if nothing is left."""
        rows = await self._connection.rows(
            """SELECT created_at FROM messages WHERE channel_id = ? AND place > ?
               ORDER BY place, id LIMIT 1""",
            (channel.id, channel.scene_start),
        )
        return rows[0]["created_at"] if rows else None

    async def last_at(self) -> float | None:
        """When a message was last said, by anybody anywhere; None if none ever was.

        Unix seconds. Messages are stored about in the order in which they were said: after the bot
        was away some come late, so the newest is looked for among the last hundred.
        """
        rows = await self._connection.rows(LAST_AT)
        newest: float | None = rows[0]["newest"]
        return newest


LAST_AT = """
    SELECT max(created_at) AS newest
    FROM (SELECT created_at FROM messages ORDER BY id DESC LIMIT 100)"""
NEWEST = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.role = 'character' AND m.content <> ''
    ORDER BY m.id DESC LIMIT 1"""
)
REPLIES_TO = (
    SELECT_MESSAGE
    + """
    WHERE m.reply_to = ? AND m.role = 'character' AND m.content <> '' ORDER BY m.id"""
)
REPLIES_BEFORE = """
    SELECT count(*) AS replies FROM messages
    WHERE channel_id = ? AND role = 'character' AND persona = ? AND place > ? AND place < ?"""
