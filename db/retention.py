"""Deletion by age: what was said before a certain moment, and what was made of it."""

from __future__ import annotations

from db.connection import SerialConnection
from db.recall import Recall

STEP = 200  # messages deleted at once; others use the database in between


class Retention:
    """Deletes what is too old. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def forget_before(self, moment: float) -> int:
        """Delete what was said before `moment` (Unix seconds); returns how many messages.

        With a message go its variants, votes and posts, the facts that were learnt from it and its
        words in the index. A summary that tells of it is emptied, so that the scene is summed up
        anew from what is left; one that somebody wrote before `moment` loses those words. So do
        facts that somebody gave before it, pinned ones included. The name of a direct message goes
        with the last that was said in it. Notes, lore, settings and agreements are no record of
        what was said, and stay.

        The text is overwritten in the file, as `Privacy.forget_author` does.
        """
        count = 0
        while step := await self._step(moment):
            count += step
        changed = 0
        async with self._connection.transaction() as connection:
            before = connection.total_changes
            for statement in MADE_BEFORE:
                await connection.execute_fetchall(statement, (moment,))
            if count:
                await connection.execute_fetchall(NAMELESS)
            changed = connection.total_changes - before
        if count:
            await Recall(self._connection).scrub()
        if count or changed:
            await self._connection.empty_log()
        return count

    async def finish(self) -> None:
        """Empty the write-ahead log of deleted text, where another process was in the way."""
        if self._connection.log_left:
            await self._connection.empty_log()

    async def _step(self, moment: float) -> int:
        async with self._connection.transaction() as connection:
            deleted = await connection.execute_fetchall(OLDEST, (moment, STEP))
            return len(list(deleted))


OLDEST = """
    DELETE FROM messages WHERE id IN
        (SELECT id FROM messages WHERE created_at < ? ORDER BY created_at LIMIT ?)
    RETURNING id"""
MADE_BEFORE = (
    "DELETE FROM facts WHERE created_at < ?",
    "UPDATE summaries SET fixed = '', fixed_by = NULL, fixed_at = NULL WHERE fixed_at < ?",
)
# A direct message is named after the person; the next word there brings the name back.
NAMELESS = """
    UPDATE channels SET name = 'direct message'
    WHERE kind = 'dm' AND name <> 'direct message'
      AND NOT EXISTS (SELECT 1 FROM messages WHERE channel_id = channels.id)"""
