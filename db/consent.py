"""Who agreed that what is said is learnt from: servers, channels, and every person for themselves.

The present word only, and no history of it, is kept. A person who opted out stays so, also when
they are forgotten, until they take it back.
"""

from __future__ import annotations

import time

from db.channels import Channel, no_channel
from db.connection import SerialConnection
from db.values import storable


class Consent:
    """The store of agreements. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def set_server(self, guild_key: str, allowed: bool, *, by: str) -> None:
        """The word of an administrator, whose author key is `by`, for a server.

        For a direct message or a terminal, `guild_key` is the key of the channel and `by` who talks
        there.
        """
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """INSERT INTO server_consent (guild_key, allowed, decided_by, decided_at)
                   VALUES (?, ?, ?, ?)
                   ON CONFLICT (guild_key) DO UPDATE
                   SET allowed = excluded.allowed, decided_by = excluded.decided_by,
                       decided_at = excluded.decided_at""",
                (storable(guild_key), allowed, storable(by), time.time()),
            )

    async def set_channel(self, channel_id: int, allowed: bool | None) -> None:
        """The word for one channel and its threads; None: as the server says.

        `False` keeps a channel out. `True` lets a thread in whose channel is kept out; it cannot
        stand for the word of the server.
        """
        async with self._connection.transaction() as connection:
            changed = await connection.execute_fetchall(
                "UPDATE channels SET training = ? WHERE id = ? RETURNING id", (allowed, channel_id)
            )
            if not list(changed):
                raise no_channel(channel_id)

    async def set_author(self, author_key: str, allowed: bool) -> None:
        """A person's own word, for whatever they say anywhere.

        A refusal also takes back what the person agreed to for their direct messages, so that a
        later change of mind somewhere else does not agree to those again.
        """
        author_key = storable(author_key)
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                """INSERT INTO author_consent (author_key, allowed, decided_at) VALUES (?, ?, ?)
                   ON CONFLICT (author_key) DO UPDATE
                   SET allowed = excluded.allowed, decided_at = excluded.decided_at""",
                (author_key, allowed, time.time()),
            )
            if not allowed:
                await connection.execute_fetchall(WITHDRAW_DIRECT_MESSAGES, (author_key,))

    async def server(self, guild_key: str) -> bool | None:
        """What was said for a server (a direct message, a terminal); None: nothing yet."""
        rows = await self._connection.rows(
            "SELECT allowed FROM server_consent WHERE guild_key = ?", (storable(guild_key),)
        )
        return bool(rows[0]["allowed"]) if rows else None

    async def channel(self, channel_id: int) -> bool | None:
        """What was said for this very channel; None: as its parent or its server says."""
        rows = await self._connection.rows(
            "SELECT training FROM channels WHERE id = ?", (channel_id,)
        )
        if not rows:
            raise no_channel(channel_id)
        said = rows[0]["training"]
        return None if said is None else bool(said)

    async def author(self, author_key: str) -> bool | None:
        """What a person said for themselves; None: nothing yet."""
        rows = await self._connection.rows(
            "SELECT allowed FROM author_consent WHERE author_key = ?", (storable(author_key),)
        )
        return bool(rows[0]["allowed"]) if rows else None

    async def trainable(self, channel: Channel) -> bool:
        """Whether what is said in `channel` may be learnt from, but for those who opted out.

        A channel of a server: the server agreed, and neither the channel nor, for a thread, the
        channel that it hangs under was kept out. A thread whose channel is unknown (it was silent
        since a version that did not note it) counts as kept out. A direct message: who talks there
        agreed in it. A terminal: unless told otherwise, for who types there owns the machine.
        """
        rows = await self._connection.rows(AGREED, (channel.id,))
        if not rows:
            return False
        [row] = rows
        said = row["training"]
        if said is None and row["kind"] == "thread" and row["parent_key"] is None:
            return False
        if said == 0:
            return False
        return bool(row["kind"] == "terminal" if row["allowed"] is None else row["allowed"])

    async def opted_out(self) -> frozenset[str]:
        """The author keys of all who do not want anything of theirs to be learnt from."""
        rows = await self._connection.rows(
            "SELECT author_key FROM author_consent WHERE allowed = 0"
        )
        return frozenset(row["author_key"] for row in rows)


AGREED = """
    SELECT c.kind, c.parent_key, coalesce(c.training, parent.training) AS training, said.allowed
    FROM channels AS c
    LEFT JOIN channels AS parent ON parent.key = c.parent_key
    LEFT JOIN server_consent AS said ON said.guild_key = coalesce(c.guild_key, c.key)
    WHERE c.id = ?"""
# A server and a channel may have the same key, but never a server and a direct message.
WITHDRAW_DIRECT_MESSAGES = """
    DELETE FROM server_consent
    WHERE decided_by = ? AND allowed = 1 AND EXISTS
        (SELECT 1 FROM channels AS c WHERE c.key = server_consent.guild_key AND c.kind = 'dm')"""
