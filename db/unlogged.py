"""Who does not want to be logged, and what is said meanwhile: stored until it is answered.

An opt-out of a person, of a channel with its threads, or of a server each is enough; none of them
can take another's back.
"""

from __future__ import annotations

import time
from typing import Literal

import aiosqlite

from db.channels import Channel
from db.connection import SerialConnection
from db.message_record import SELECT_MESSAGE, Message, message_from
from db.values import storable

Scope = Literal["author", "channel", "server"]


class Unlogged:
    """The store of opt-outs and of messages in passing. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    # -- opt-outs ----------------------------------------------------------------------------------

    async def set(self, scope: Scope, key: str, logged: bool) -> None:
        """Whether what is said by a person, or in a channel or a server, may be kept."""
        async with self._connection.transaction() as connection:
            if logged:
                await connection.execute_fetchall(
                    "DELETE FROM unlogged WHERE scope = ? AND key = ?", (scope, storable(key))
                )
                return
            await connection.execute_fetchall(
                "INSERT OR IGNORE INTO unlogged (scope, key, since) VALUES (?, ?, ?)",
                (scope, storable(key), time.time()),
            )

    async def reasons(self, channel: Channel, author_key: str) -> frozenset[Scope]:
        """Who opted out of the logging of what this person says in this channel; nobody: {}."""
        rows = await self._connection.rows(
            REASONS,
            (storable(author_key), channel.key, channel.parent_key, channel.guild_key),
        )
        return frozenset(row["scope"] for row in rows)

    async def logs_author(self, author_key: str) -> bool:
        """Whether a person lets what they say be kept, wherever others do."""
        rows = await self._connection.rows(
            "SELECT 1 FROM unlogged WHERE scope = 'author' AND key = ?", (storable(author_key),)
        )
        return not rows

    # -- messages in passing -----------------------------------------------------------------------

    async def mark(self, message_id: int) -> None:
        """This message of a person passes: it is stored until `let_go`, and nothing made of it.

        Call it in the transaction that stores the message. Replies to it pass with it.
        """
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "UPDATE messages SET passing = 1 WHERE id = ?", (message_id,)
            )
            await connection.execute_fetchall(
                "DELETE FROM recall_due WHERE message_id = ?", (message_id,)
            )

    async def let_go(self, message_id: int) -> list[Message]:
        """Delete a message in passing with the replies to it; returns them as they were, in order.

        Nothing happens to one that still waits for its reply, or is to be kept.
        The text is overwritten in the file and the write-ahead log is emptied, so that nothing of
        it stays on the disk (while another process reads the database, the log is emptied later).
        """
        async with self._connection.transaction() as connection:
            rows = await connection.execute_fetchall(EXCHANGE, (message_id,) * 3)
            messages = sorted(map(message_from, rows), key=lambda message: message.id)
            await _delete(connection, messages)
        if messages:
            await self._connection.empty_log()
        return messages

    async def sweep(self, *, owed_since: float, known_since: float) -> int:
        """Delete what an earlier run left in passing; returns how many messages that were.

        What is owed a reply since `owed_since` (Unix seconds) stays until it has it. Posts that
        passed before `known_since` are too old for anybody to ask about. Call it before anything
        is heard.
        """
        async with self._connection.transaction() as connection:
            rows = await connection.execute_fetchall(LEFT_OVER, (owed_since, owed_since))
            messages = [message_from(row) for row in rows]
            await _delete(connection, messages)
            await connection.execute_fetchall(
                "DELETE FROM passed_posts WHERE passed_at < ?", (known_since,)
            )
        if messages:
            await self._connection.empty_log()
        return len(messages)

    async def showed(self, post_id: int) -> bool:
        """Whether this post showed what a character said in passing."""
        rows = await self._connection.rows(
            "SELECT 1 FROM passed_posts WHERE post_id = ?", (post_id,)
        )
        return bool(rows)

    async def heard(self, channel_id: int, post_id: int) -> None:
        """A post of a person was heard and not kept: it need not be read back after a restart."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """UPDATE channels SET heard_up_to = ?
                   WHERE id = ? AND coalesce(heard_up_to, 0) < ?""",
                (post_id, channel_id, post_id),
            )


async def _delete(connection: aiosqlite.Connection, messages: list[Message]) -> None:
    # The replies first: a question takes variants of its replies along.
    for message in reversed(messages):
        if message.role == "character":
            await connection.executemany(
                "INSERT OR REPLACE INTO passed_posts (post_id, passed_at) VALUES (?, ?)",
                [(post_id, time.time()) for post_id in message.post_ids],
            )
        await connection.execute_fetchall("DELETE FROM messages WHERE id = ?", (message.id,))


REASONS = """
    SELECT scope FROM unlogged WHERE scope = 'author' AND key = ?
    UNION ALL SELECT scope FROM unlogged WHERE scope = 'channel' AND key IN (?, ?)
    UNION ALL SELECT scope FROM unlogged WHERE scope = 'server' AND key = ?"""
EXCHANGE = (
    SELECT_MESSAGE
    + """
    WHERE m.passing = 1
      AND m.id IN (SELECT ? UNION ALL SELECT id FROM messages WHERE passing = 1 AND answers = ?)
      AND NOT EXISTS (SELECT 1 FROM messages WHERE id = ? AND answer = 'owed')"""
)
LEFT_OVER = (
    SELECT_MESSAGE
    + """
    WHERE m.passing = 1
      AND NOT (m.role = 'user' AND m.answer = 'owed' AND m.created_at >= ?)
      AND NOT EXISTS (SELECT 1 FROM messages AS asked
                      WHERE asked.id = m.reply_to AND asked.answer = 'owed'
                        AND asked.created_at >= ?)
    ORDER BY m.id"""
)
