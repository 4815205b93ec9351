"""Everything that was said, question and reply, and which Discord posts show it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence

import aiosqlite

from db.channels import Channel
from db.connection import SerialConnection
from db.message_record import SELECT_MESSAGE, AnswerState, Message, Role, message_from
from db.values import storable, storable_or_none, to_json

__all__ = ["AnswerState", "Message", "Messages", "Role"]


class Messages:
    """The store of messages. Every method raises `DatabaseError`.

    Methods that change a message do nothing when it is gone: a person may delete it at any moment,
    also while a reply to it is being written.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    # -- what people say ---------------------------------------------------------------------------

    async def add_user(
        self,
        channel_id: int,
        *,
        author_key: str,
        author_name: str,
        content: str,
        created_at: float,
        post_id: int | None = None,
        reply_to: int | None = None,
        owed: bool,
        unasked: bool = False,
    ) -> Message:
        """Store what a person said; `owed` if a reply follows, `unasked` if nobody waits for it.

        A post that is stored already is returned as it stands, and nothing is added. A `reply_to`
        that is unknown in this channel is left out.
        """
        async with self._connection.transaction() as connection:
            if stored := await _by_post(connection, post_id):
                return stored
            message_id = await _insert(
                connection,
                """INSERT INTO messages (channel_id, role, author_key, author_name, content,
                                         created_at, answer, unasked, reply_to)
                   VALUES (?, 'user', ?, ?, ?, ?, ?, ?,
                           (SELECT id FROM messages WHERE id = ? AND channel_id = ?))""",
                (
                    channel_id,
                    storable(author_key),
                    storable(author_name),
                    storable(content),
                    created_at,
                    "owed" if owed else "none",
                    unasked,
                    reply_to,
                    channel_id,
                ),
            )
            if post_id is not None:
                await _insert_post(connection, message_id, post_id, position=0)
                await connection.execute_fetchall(
                    """UPDATE channels SET heard_up_to = max(coalesce(heard_up_to, 0), ?)
                       WHERE id = ?""",
                    (post_id, channel_id),
                )
            return await _read(connection, message_id)

    async def edit(self, post_id: int, content: str, edited_at: float) -> Message | None:
        """Follow a person's edit and return the message; an edit older than the stored one is void.

        None if no message of a person is shown by that post.
        """
        async with self._connection.transaction() as connection:
            stored = await _by_post(connection, post_id)
            if stored is None or stored.role != "user":
                return None
            await connection.execute_fetchall(
                """UPDATE messages SET content = ?, edited_at = ?
                   WHERE id = ? AND (edited_at IS NULL OR edited_at <= ?)""",
                (storable(content), edited_at, stored.id, edited_at),
            )
            return await _read(connection, stored.id)

    async def delete_post(self, post_id: int) -> Message | None:
        """Follow a deletion; with its last post the message itself is deleted.

        Returns the message as it was before, None if no message is shown by that post. A question
        whose unfinished reply is deleted this way counts as answered.
        """
        async with self._connection.transaction() as connection:
            stored = await _by_post(connection, post_id)
            if stored is None:
                return None
            await connection.execute_fetchall("DELETE FROM posts WHERE post_id = ?", (post_id,))
            # In order, so that each moves to a position that is free by then.
            for position, post in enumerate(post for post in stored.post_ids if post != post_id):
                await connection.execute_fetchall(
                    "UPDATE posts SET position = ? WHERE post_id = ?", (position, post)
                )
            if stored.post_ids == (post_id,):
                if stored.state == "streaming":
                    await _settle_question_of(connection, stored.id)
                await connection.execute_fetchall("DELETE FROM messages WHERE id = ?", (stored.id,))
            return stored

    async def set_answer(self, message_id: int, answer: AnswerState) -> None:
        """Whether somebody still waits for a reply to this message of a person."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "UPDATE messages SET answer = ? WHERE id = ? AND role = 'user'",
                (answer, message_id),
            )

    # -- what characters say -----------------------------------------------------------------------

    async def begin_reply(
        self,
        channel_id: int,
        *,
        question: int | None,
        persona: str,
        persona_name: str,
        adapter: str,
        sampling: dict[str, object],
        passing: bool = False,
    ) -> Message:
        """A reply that starts to stream, empty at first; `passing` with a question that does.

        A reply to the same question that a crash left unfinished is taken up again instead: it
        keeps what it shows and its posts, and is signed over to the settings given now.
        `question` may have been deleted meanwhile; then `reply_to` is None, and the reply still
        stands where the question stood.
        """
        signature = (
            f"persona:{storable(persona)}",
            storable(persona_name),
            storable(persona),
            storable(adapter),
            to_json(sampling),
        )
        async with self._connection.transaction() as connection:
            unfinished = await connection.execute_fetchall(
                """UPDATE messages SET author_key = ?, author_name = ?, persona = ?, adapter = ?,
                                       sampling = ?
                   WHERE reply_to = ? AND channel_id = ? AND state = 'streaming' RETURNING id""",
                (*signature, question, channel_id),
            )
            for row in unfinished:
                return await _read(connection, row["id"])
            message_id = await _insert(
                connection,
                """INSERT INTO messages (channel_id, role, author_key, author_name, persona,
                                         adapter, sampling, content, created_at, passing, state,
                                         answers, reply_to)
                   VALUES (?, 'character', ?, ?, ?, ?, ?, '', ?, ?, 'streaming',
                           (SELECT ? WHERE NOT EXISTS
                               (SELECT 1 FROM messages WHERE id = ? AND channel_id <> ?)),
                           (SELECT id FROM messages WHERE id = ? AND channel_id = ?))""",
                (
                    *(channel_id, *signature, time.time(), passing),
                    *(question, question, channel_id),
                    *(question, channel_id),
                ),
            )
            return await _read(connection, message_id)

    async def show(self, message_id: int, content: str) -> None:
        """The text that a streaming reply is about to show; call it before each edit."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "UPDATE messages SET content = ? WHERE id = ? AND state = 'streaming'",
                (storable(content), message_id),
            )

    async def posted(self, message_id: int, post_id: int, position: int) -> None:
        """The message is shown by this post, counted from 0; replaces the post at that position."""
        async with self._connection.transaction() as connection:
            rows = await connection.execute_fetchall(
                """SELECT channel_id, (SELECT count(*) FROM posts WHERE message_id = m.id) AS posts
                   FROM messages AS m WHERE id = ?""",
                (message_id,),
            )
            for row in rows:  # others may be gone meanwhile, and there must be no gap
                await _insert_post(connection, message_id, post_id, min(position, row["posts"]))
                await _start_hearing(connection, row["channel_id"], post_id)

    async def finish_reply(
        self, message_id: int, content: str, *, finish_reason: str, adapter: str
    ) -> None:
        """The reply is complete and its question answered: both or neither."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """UPDATE messages SET content = ?, finish_reason = ?, adapter = ?,
                                       state = 'complete'
                   WHERE id = ? AND role = 'character'""",
                (storable(content), storable(finish_reason), storable(adapter), message_id),
            )
            await _settle_question_of(connection, message_id)

    async def abandon_reply(self, message_id: int) -> None:
        """Nothing was shown of this unfinished reply: forget it. Its question keeps its state."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "DELETE FROM messages WHERE id = ? AND state = 'streaming'", (message_id,)
            )

    async def add_said(
        self,
        channel_id: int,
        *,
        persona: str,
        persona_name: str,
        content: str,
        created_at: float,
        post_id: int | None = None,
        adapter: str | None = None,
    ) -> Message:
        """Store what a character said unasked, such as its greeting; once per post."""
        async with self._connection.transaction() as connection:
            if stored := await _by_post(connection, post_id):
                return stored
            message_id = await _insert(
                connection,
                """INSERT INTO messages (channel_id, role, author_key, author_name, persona,
                                         adapter, content, created_at)
                   VALUES (?, 'character', ?, ?, ?, ?, ?, ?)""",
                (
                    channel_id,
                    f"persona:{storable(persona)}",
                    storable(persona_name),
                    storable(persona),
                    storable_or_none(adapter),
                    storable(content),
                    created_at,
                ),
            )
            if post_id is not None:
                await _insert_post(connection, message_id, post_id, position=0)
                await _start_hearing(connection, channel_id, post_id)
            return await _read(connection, message_id)

    # -- reading -----------------------------------------------------------------------------------

    async def get(self, message_id: int) -> Message | None:
        """The message of this id; None if there is none (any more)."""
        return _first(
            await self._connection.rows(f"{SELECT_MESSAGE} WHERE m.id = ?", (message_id,))
        )

    async def by_post(self, post_id: int) -> Message | None:
        """The message that the Discord post `post_id` shows, whole or in part."""
        return _first(await self._connection.rows(BY_POST, (post_id,)))

    async def history(
        self, channel: Channel, *, limit: int, up_to: int | None = None
    ) -> list[Message]:
        """The newest `limit` messages of the present scene, oldest first.

        A reply stands right behind its question, where it was written, even if other messages came
        while it was being written. Replies that show nothing yet are left out. With `up_to`, the
        history ends with that message: replies to earlier questions are in it, its own are not.
        The scene is the one that `channel` says, so pass a fresh record.
        """
        end = "" if up_to is None else HISTORY_END
        end_values = () if up_to is None else (up_to, up_to, up_to)
        rows = await self._connection.rows(
            HISTORY.format(end=end),
            (channel.id, channel.scene_start, *end_values, max(limit, 0)),
        )
        return [message_from(row) for row in reversed(rows)]

    async def scenes(self, channel_id: int, *, since: float = 0) -> AsyncIterator[list[Message]]:
        """Everything in a channel, scene by scene, each as `history` would show it; oldest first.

        Scenes of which nothing is left (`since`, in Unix seconds) are skipped. Each is read when it
        is its turn, so that a long log need not fit into memory.
        """
        rows = await self._connection.rows(
            "SELECT start FROM scenes WHERE channel_id = ? ORDER BY start", (channel_id,)
        )
        starts = [0, *(row["start"] for row in rows)]
        for start, end in zip(starts, [*starts[1:], NO_END], strict=True):
            if scene := await self._connection.rows(SCENE, (channel_id, start, end, since)):
                yield [message_from(row) for row in scene]

    async def owed(self, channel_id: int | None = None, *, since: float) -> list[Message]:
        """Questions from `since` on that still wait for a reply, oldest first."""
        if channel_id is None:
            rows = await self._connection.rows(OWED.format(channel=""), (since,))
        else:
            rows = await self._connection.rows(
                OWED.format(channel="AND m.channel_id = ?"), (since, channel_id)
            )
        return [message_from(row) for row in rows]

    async def newest_post(self, channel_id: int) -> int | None:
        """The greatest Discord id heard from a person in this channel: listen again from there.

        It never goes back, so deleted and forgotten messages are not heard again. A character's
        post counts only while no person was heard: one sent after a restart must not hide what
        people wrote before it.
        """
        rows = await self._connection.rows(
            "SELECT heard_up_to FROM channels WHERE id = ?", (channel_id,)
        )
        return rows[0]["heard_up_to"] if rows else None

    async def count(self, channel_id: int) -> int:
        """How many messages of this channel are stored, over all scenes."""
        [row] = await self._connection.rows(
            "SELECT count(*) FROM messages WHERE channel_id = ?", (channel_id,)
        )
        return int(row[0])


HISTORY = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.place > ? {end}
      AND (m.state = 'complete' OR m.content <> '')
    ORDER BY m.place DESC, m.id DESC LIMIT ?"""
)
SCENE = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.place > ? AND m.place <= ? AND m.created_at >= ?
      AND (m.state = 'complete' OR m.content <> '')
    ORDER BY m.place, m.id"""
)
NO_END = 2**63 - 1  # no message has a greater id
# A message that is gone counts as a question at its own place.
HISTORY_END = "AND (m.place, m.id) <= (coalesce((SELECT place FROM messages WHERE id = ?), ?), ?)"
OWED = (
    SELECT_MESSAGE
    + """
    WHERE m.answer = 'owed' AND m.created_at >= ? {channel}
    ORDER BY m.created_at, m.id"""
)
BY_POST = f"{SELECT_MESSAGE} WHERE m.id = (SELECT message_id FROM posts WHERE post_id = ?)"


def _first(rows: Sequence[sqlite3.Row]) -> Message | None:
    return message_from(rows[0]) if rows else None


async def _read(connection: aiosqlite.Connection, message_id: int) -> Message:
    [row] = await connection.execute_fetchall(f"{SELECT_MESSAGE} WHERE m.id = ?", (message_id,))
    return message_from(row)


async def _by_post(connection: aiosqlite.Connection, post_id: int | None) -> Message | None:
    if post_id is None:
        return None
    return _first(list(await connection.execute_fetchall(BY_POST, (post_id,))))


async def _insert(connection: aiosqlite.Connection, sql: str, values: Sequence[object]) -> int:
    row = await connection.execute_insert(sql, values)
    assert row is not None  # last_insert_rowid() always gives one row
    return int(row[0])


async def _insert_post(
    connection: aiosqlite.Connection, message_id: int, post_id: int, position: int
) -> None:
    await connection.execute_fetchall(
        "DELETE FROM posts WHERE message_id = ? AND position = ?", (message_id, position)
    )
    await connection.execute_fetchall(
        """INSERT INTO posts (post_id, message_id, position) VALUES (?, ?, ?)
           ON CONFLICT (post_id) DO UPDATE
           SET message_id = excluded.message_id, position = excluded.position""",
        (post_id, message_id, position),
    )


async def _start_hearing(connection: aiosqlite.Connection, channel_id: int, post_id: int) -> None:
    await connection.execute_fetchall(
        "UPDATE channels SET heard_up_to = ? WHERE id = ? AND heard_up_to IS NULL",
        (post_id, channel_id),
    )


async def _settle_question_of(connection: aiosqlite.Connection, reply_id: int) -> None:
    await connection.execute_fetchall(
        """UPDATE messages SET answer = 'answered'
           WHERE role = 'user' AND id = (SELECT reply_to FROM messages WHERE id = ?)""",
        (reply_id,),
    )
