"""Whom a server does not want answered."""

from __future__ import annotations

import time
from dataclasses import dataclass

from db.connection import SerialConnection
from db.values import storable


@dataclass(frozen=True, slots=True)
class Block:
    """One person on the list of one server."""

    author_key: str
    blocked_at: float  # Unix seconds


class Blocks:
    """The store of block lists, one for each server. Every method raises `DatabaseError`."""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def add(self, guild_key: str, author_key: str) -> bool:
        """Block a person on a server; False if they are blocked already."""
        async with self._connection.transaction() as connection:
            added = await connection.execute_fetchall(
                """INSERT OR IGNORE INTO blocks (guild_key, author_key, blocked_at)
                   VALUES (?, ?, ?) RETURNING author_key""",
                (storable(guild_key), storable(author_key), time.time()),
            )
            return bool(list(added))

    async def remove(self, guild_key: str, author_key: str) -> bool:
        """Take a person from the list of a server; False if they are not on it."""
        async with self._connection.transaction() as connection:
            removed = await connection.execute_fetchall(
                "DELETE FROM blocks WHERE guild_key = ? AND author_key = ? RETURNING author_key",
                (storable(guild_key), storable(author_key)),
            )
            return bool(list(removed))

    async def all(self) -> dict[str, set[str]]:
        """Server → the author keys of everybody who is blocked there."""
        lists: dict[str, set[str]] = {}
        for row in await self._connection.rows("SELECT guild_key, author_key FROM blocks"):
            lists.setdefault(row["guild_key"], set()).add(row["author_key"])
        return lists

    async def anywhere(self, author_key: str) -> bool:
        """Whether a person is blocked on any server."""
        rows = await self._connection.rows(
            "SELECT 1 FROM blocks WHERE author_key = ? LIMIT 1", (storable(author_key),)
        )
        return bool(rows)

    async def of(self, guild_key: str) -> list[Block]:
        """Everybody who is blocked on a server, by key."""
        rows = await self._connection.rows(
            "SELECT author_key, blocked_at FROM blocks WHERE guild_key = ? ORDER BY author_key",
            (storable(guild_key),),
        )
        return [Block(row["author_key"], row["blocked_at"]) for row in rows]
