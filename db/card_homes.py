"""Which server brought in which character."""

from __future__ import annotations

from db.connection import SerialConnection
from db.values import storable


class CardHomes:
    """The store of characters' homes. Every method raises `DatabaseError`.

    Characters of the operator, the shipped ones among them, have none.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection

    async def home(self, persona: str) -> str | None:
        """The key of the server that the character belongs to; None if it is the operator's."""
        rows = await self._connection.rows(
            "SELECT home_key FROM card_homes WHERE persona = ?", (storable(persona),)
        )
        return rows[0]["home_key"] if rows else None

    async def all(self) -> dict[str, str]:
        """The homes of all characters that have one."""
        rows = await self._connection.rows("SELECT persona, home_key FROM card_homes")
        return {row["persona"]: row["home_key"] for row in rows}

    async def settle(self, persona: str, home_key: str | None, brought_at: float) -> None:
        """Say where a character belongs from now on; None: to the operator."""
        async with self._connection.transaction() as connection:
            await connection.execute_fetchall(
                "DELETE FROM card_homes WHERE persona = ?", (storable(persona),)
            )
            if home_key is not None:
                await connection.execute_fetchall(
                    "INSERT INTO card_homes (persona, home_key, brought_at) VALUES (?, ?, ?)",
                    (storable(persona), storable(home_key), brought_at),
                )

    async def count(self, home_key: str) -> int:
        """How many characters belong to a server."""
        [row] = await self._connection.rows(
            "SELECT count(*) FROM card_homes WHERE home_key = ?", (storable(home_key),)
        )
        return int(row[0])
