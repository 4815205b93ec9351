"""`/block`: whom the characters of a server do not answer, as functions that know no Discord.

Whether somebody may decide for the server is the front end's question.
"""

from __future__ import annotations

import re
import time

from bot.answers import Answer
from bot.blocking import Blocking
from bot.errors import CommandError
from bot.incoming import Place
from db.database import Database

_PERSON = re.compile(r"(?:<@!?(?P<mention>\d{1,20})>|(?:discord:)?(?P<id>\d{1,20}))")


class BlockCommands:
    """The commands under `/block`."""

    def __init__(self, database: Database, blocking: Blocking) -> None:
        self._blocks = database.blocks
        self._blocking = blocking

    async def add(self, place: Place, author: str, person: str) -> Answer:
        """Block the person with the author key `person`, on the word of `author`."""
        server = _server(place)
        if person == author:
            raise CommandError("You cannot block yourself; `/privacy logging off` is for that.")
        if not await self._blocking.add(server, person):
            return Answer(f"{_shown(person)} is blocked already.")
        return Answer(
            f"{_shown(person)} is blocked on this server: not answered, not remembered, and not"
            " learnt from. What was said before stays; `/rewind` takes the newest of it back."
        )

    async def remove(self, place: Place, person: str) -> Answer:
        """Let the person be answered again."""
        if not await self._blocking.remove(_server(place), person):
            raise CommandError(f"{_shown(person)} is not blocked on this server.")
        return Answer(f"{_shown(person)} is answered again.")

    async def list(self, place: Place) -> Answer:
        """Everybody who is blocked on the server."""
        blocks = await self._blocks.of(_server(place))
        if not blocks:
            return Answer("Nobody is blocked on this server; `/block add` blocks somebody.")
        lines = [f"{_shown(block.author_key)} since {_day(block.blocked_at)}" for block in blocks]
        return Answer("\n".join(lines))


def person_in(text: str) -> str:
    """The author key in a mention or an id; `CommandError` if there is none."""
    found = _PERSON.fullmatch(text.strip())
    if found is None:
        raise CommandError("Name the person by a mention or by their id, which is a number.")
    return f"discord:{int(found['mention'] or found['id'])}"


def _server(place: Place) -> str:
    if place.guild_key is None:
        raise CommandError(
            "There is no server here; whoever runs me blocks people everywhere with bot.blocked."
        )
    return place.guild_key


def _shown(person: str) -> str:
    """A mention, which Discord shows as the name; nobody is pinged by it."""
    return f"<@{person.rpartition(':')[2]}>"


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
