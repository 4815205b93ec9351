"""`/cast add | remove | list`: several characters in one channel."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.naming import named
from bot.turn import Turns
from db.database import Database

MOST = 8  # characters in one channel


class CheckAdapter(Protocol):
    """Raises a sentence for an adapter that the model cannot use."""

    def __call__(self, name: str) -> object: ...


class CastCommands:
    """The commands under `/cast`. Each raises `CommandError` or `CharacterError` in a sentence."""

    def __init__(
        self, database: Database, casting: Casting, turns: Turns, check_adapter: CheckAdapter
    ) -> None:
        self._channels = database.channels
        self._homes = database.card_homes
        self._casting = casting
        self._turns = turns
        self._check_adapter = check_adapter

    async def list(self, place: Place) -> Answer:
        """Who speaks here, through which adapter."""
        channel = await self._turns.channel(place)
        lines = [
            f"{'▸' if character.id == self._casting.own(channel) else '·'} **{character.name}**"
            f" (`{character.id}`), through {self._casting.adapter(channel, character.id)}"
            for character in self._casting.cast_here(channel)
        ]
        usable = {character.id for character in self._casting.cast_here(channel)}
        gone = [m.persona for m in channel.present if m.persona not in usable]
        lines += [f"⚠ `{persona}` cannot speak here now." for persona in gone]
        return Answer("\n".join(lines) or "Nobody can speak here.")

    async def add(self, place: Place, name: str, adapter: str = "") -> Answer:
        """Let a further character speak here, which hears what is said from now on.

        With an `adapter`, its replies come from that one.
        """
        channel = await self._turns.channel(place)
        meant = await named(self._casting.cast, self._homes, name, place.guild_key)
        character = self._casting.here(channel, meant.id)
        if character.id == self._casting.own(channel):
            raise CommandError(
                f"{character.name} speaks here already; /adapter set chooses its adapter."
            )
        if adapter:
            await asyncio.to_thread(self._check_adapter, adapter)
        new = character.id not in {member.persona for member in channel.present}
        if new and len(channel.present) + 1 >= MOST:
            raise CommandError(f"{MOST} characters are the most in one channel; remove one first.")
        channel = await self._channels.add_member(channel.id, character.id, adapter or None)
        if new:
            self._turns.passing.forget_channel(channel)
        through = f" through `{adapter}`" if adapter else ""
        if not new:
            through = self._casting.adapter(channel, character.id)
            return Answer(f"{character.name} now speaks through `{through}`.", public=True)
        return Answer(f"{character.name} joins in here{through}.", public=True, enters=character)

    async def remove(self, place: Place, name: str) -> Answer:
        """Let one of the further characters speak here no more."""
        channel = await self._turns.channel(place)
        present = [member.persona for member in channel.present]
        persona = name.strip().lower()
        if persona not in present:  # who is gone from the cast can still be removed, by its id
            persona = (await named(self._casting.cast, self._homes, name, place.guild_key)).id
        if persona == self._casting.own(channel) and persona not in present:
            raise CommandError(
                "The channel's own character cannot leave it; /persona set puts another one there."
            )
        if persona not in present:
            raise CommandError(f"{persona} does not speak here; /cast list says who does.")
        await self._channels.remove_member(channel.id, persona)
        self._turns.passing.forget_channel(channel)
        return Answer(f"{persona} speaks here no more.", public=True)
