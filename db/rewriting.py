"""Replies that are put otherwise after they were said: written anew, continued, edited, taken back.

While a reply is rewritten its state is `streaming` and its question is answered already; that tells
it from a first reply, whose question is still owed.
"""

from __future__ import annotations

from dataclasses import dataclass

from db.channels import Channel
from db.connection import DatabaseError, SerialConnection
from db.feedback import keep_present_text
from db.message_record import SELECT_MESSAGE, Message, message_from
from db.values import storable, to_json


@dataclass(frozen=True, slots=True)
class Standing:
    """Which of how many versions of a reply is shown, counted from 1."""

    number: int
    of: int


class Rewriting:
    """The store's part in changing what was said. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def newest_reply(self, channel: Channel) -> Message | None:
        """What a character said last in the present scene; None if none did.

        A reply that shows nothing yet does not count. Pass a fresh record of the channel.
        """
        rows = await self._connection.rows(NEWEST, (channel.id, channel.scene_start))
        return message_from(rows[0]) if rows else None

    async def standing(self, message_id: int) -> Standing:
        """Which version of a message is shown; (1, 1) if there is only one."""
        rows = await self._connection.rows(
            "SELECT chosen FROM variants WHERE message_id = ? ORDER BY id", (message_id,)
        )
        chosen = [number for number, row in enumerate(rows, 1) if row["chosen"]]
        return Standing(chosen[0], len(rows)) if chosen else Standing(1, 1)

    async def begin_variant(
        self,
        message_id: int,
        content: str,
        *,
        adapter: str,
        sampling: dict[str, object],
        created_at: float,
    ) -> None:
        """Let a new version, of which `content` is about to be shown, take a reply's place.

        The text so far stays as a version of its own. The reply streams from now on: `show` and
        `finish_reply` of the messages go on with it. Does nothing when the message is gone.
        """
        async with self._connection.transaction() as connection:
            await keep_present_text(connection, message_id)
            await connection.execute_fetchall(LET_GO, (message_id,))
            await connection.execute_fetchall(
                """INSERT INTO variants (message_id, channel_id, chosen, adapter, sampling,
                                         created_at)
                   SELECT id, channel_id, 1, ?, ?, ? FROM messages
                   WHERE id = ? AND role = 'character'""",
                (storable(adapter), to_json(sampling), created_at, message_id),
            )
            await connection.execute_fetchall(
                """UPDATE messages SET content = ?, adapter = ?, sampling = ?,
                                       finish_reason = NULL, edited_at = NULL, state = 'streaming'
                   WHERE id = ? AND role = 'character'""",
                (storable(content), storable(adapter), to_json(sampling), message_id),
            )

    async def reopen(self, message_id: int, content: str) -> None:
        """A complete reply grows again; `content` is all of it that is about to be shown."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """UPDATE messages SET content = ?, state = 'streaming'
                   WHERE id = ? AND role = 'character'""",
                (storable(content), message_id),
            )

    async def amend(self, message_id: int, content: str, edited_at: float) -> Message:
        """Somebody's edit of a complete reply. A `DatabaseError` if there is no such (any more)."""
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                """UPDATE messages SET content = ?, edited_at = ?
                   WHERE id = ? AND role = 'character' AND state = 'complete' RETURNING id""",
                (storable(content), edited_at, message_id),
            )
            for _ in changed:
                [row] = await connection.execute_fetchall(
                    f"{SELECT_MESSAGE} WHERE m.id = ?", (message_id,)
                )
                return message_from(row)
        raise DatabaseError("That reply is gone or still being written, so it cannot be edited.")

    async def interrupted(self, channel_id: int) -> list[Message]:
        """Replies whose rewriting a crash or a lost connection broke off, as they stand."""
        rows = await self._connection.rows(INTERRUPTED, (channel_id,))
        return [message_from(row) for row in rows]

    async def take_back(self, message_id: int) -> None:
        """Delete a character's message with its versions and votes; its question stays answered."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "DELETE FROM messages WHERE id = ? AND role = 'character'", (message_id,)
            )

    async def since(self, channel: Channel, exchanges: int) -> list[Message]:
        """The last `exchanges` questions that were answered, with everything behind the first one.

        Oldest first; fewer if the present scene has fewer, none if it has none.
        """
        rows = await self._connection.rows(
            SINCE, (channel.id, channel.scene_start, exchanges, channel.id)
        )
        return [message_from(row) for row in rows]

    async def rewind(self, message_ids: list[int]) -> None:
        """Delete these messages, all or none."""
        async with self._connection.transaction() as connection:
            for message_id in message_ids:
                await connection.execute_fetchall(
                    "DELETE FROM messages WHERE id = ?", (message_id,)
                )

    async def vote_of(self, message_id: int, voter_key: str) -> bool | None:
        """A person's 👍 (True) or 👎 (False) for what a reply says now; None without one."""
        rows = await self._connection.rows(VOTE_OF, (message_id, storable(voter_key)))
        return bool(rows[0]["liked"]) if rows else None


NEWEST = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.place > ? AND m.role = 'character'
      AND (m.state = 'complete' OR m.content <> '')
    ORDER BY m.place DESC, m.id DESC LIMIT 1"""
)
INTERRUPTED = (
    SELECT_MESSAGE
    + """
    WHERE m.channel_id = ? AND m.state = 'streaming'
      AND NOT EXISTS (SELECT 1 FROM messages AS q WHERE q.id = m.reply_to AND q.answer = 'owed')
    ORDER BY m.id"""
)
# An exchange begins with a question that a character answered.
SINCE = (
    SELECT_MESSAGE
    + """
    WHERE m.place >= (
        SELECT min(place) FROM (
            SELECT DISTINCT place FROM messages
            WHERE channel_id = ? AND place > ? AND role = 'character' AND answers IS NOT NULL
            ORDER BY place DESC LIMIT ?))
      AND m.channel_id = ?
    ORDER BY m.place, m.id"""
)
LET_GO = """
    UPDATE variants
    SET chosen = 0, content = m.content, adapter = m.adapter, sampling = m.sampling,
        finish_reason = m.finish_reason
    FROM messages AS m
    WHERE variants.message_id = ? AND variants.chosen = 1 AND m.id = variants.message_id"""
VOTE_OF = """
    SELECT v.liked FROM votes AS v
    LEFT JOIN variants AS shown ON shown.message_id = v.message_id AND shown.chosen = 1
    WHERE v.message_id = ? AND v.voter_key = ? AND v.variant_id IS shown.id"""
