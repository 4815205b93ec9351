"""Who is not answered: on the list of a server, or everywhere by the configuration."""

from __future__ import annotations

from config import BotSettings
from db.database import Database

BLOCKED = "You are blocked here, so I cannot do that; `/privacy` still works for you."


class Blocking:
    """Decides for people. What they said before they were blocked stays as it is.

    The lists are kept here beside the database, so that asking takes no time: a command has to be
    answered within seconds, whatever the database is doing. Only this object may change them.
    """

    def __init__(self, settings: BotSettings, database: Database) -> None:
        self._blocks = database.blocks
        self._everywhere = settings.blocked_keys
        self._lists: dict[str, set[str]] = {}

    async def load(self) -> None:
        """Read the lists; call it before anything is heard. Raises `DatabaseError`."""
        self._lists = await self._blocks.all()

    def applies(self, guild_key: str | None, author_key: str) -> bool:
        """Whether a person is blocked on a server; None: where there is none."""
        if author_key in self._everywhere:
            return True
        return guild_key is not None and author_key in self._lists.get(guild_key, ())

    async def add(self, guild_key: str, author_key: str) -> bool:
        """Block a person on a server; False if they are blocked already. `DatabaseError`."""
        added = await self._blocks.add(guild_key, author_key)
        self._lists.setdefault(guild_key, set()).add(author_key)
        return added

    async def remove(self, guild_key: str, author_key: str) -> bool:
        """Take a person from the list of a server; False if they are not on it. `DatabaseError`."""
        removed = await self._blocks.remove(guild_key, author_key)
        self._lists.get(guild_key, set()).discard(author_key)
        return removed
