"""What a person may ask of the memory: to see what it holds of them, and to be forgotten."""

from __future__ import annotations

from db.connection import SerialConnection
from db.message_record import SELECT_MESSAGE, message_from
from db.values import storable


class Privacy:
    """Export and deletion by author. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def forget_author(self, author_key: str) -> int:
        """Delete all messages of a person and return how many there were.

        Replies to them stay, as the character's own words, but no longer say whom they answered.
        The text is overwritten in the file, and the write-ahead log is emptied, so that nothing of
        it can be read from the disk's files afterwards (while another process reads the database,
        the log is emptied later).
        """
        async with self._connection.transaction() as connection:
            deleted = await connection.execute_fetchall(
                "DELETE FROM messages WHERE author_key = ? AND role = 'user' RETURNING id",
                (storable(author_key),),
            )
            count = len(list(deleted))
        await self._connection.empty_log()
        return count

    async def export_author(self, author_key: str) -> list[dict[str, object]]:
        """All messages of a person, oldest first, as values that JSON can hold."""
        rows = await self._connection.rows(
            f"""SELECT said.*, c.key AS channel_key, c.name AS channel_name
                FROM ({SELECT_MESSAGE} WHERE m.author_key = ? AND m.role = 'user') AS said
                JOIN channels AS c ON c.id = said.channel_id ORDER BY said.id""",
            (storable(author_key),),
        )
        exported: list[dict[str, object]] = []
        for row in rows:
            message = message_from(row)
            exported.append(
                {
                    "channel": row["channel_key"],
                    "channel_name": row["channel_name"],
                    "author_name": message.author_name,
                    "content": message.content,
                    "created_at": message.created_at,
                    "edited_at": message.edited_at,
                    "post_ids": list(message.post_ids),
                }
            )
        return exported
