"""`/note` and `/lore`: what people add to prompts, as functions that know no Discord."""

from __future__ import annotations

import time

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.memory_commands import Teller
from bot.plain_text import single_spaced, well_formed, within_limit
from bot.turn import Turns
from db.channels import Channel
from db.database import Database
from db.direction import Lore
from persona_prompts.character import Character

DEFAULT_DEPTH = 4  # messages, as in SillyTavern
DEEPEST = 100
LONGEST_NOTE = 500  # characters
LONGEST_LORE = 1000
MOST_KEYS = 10
LONGEST_KEY = 50


class DirectionCommands:
    """The commands under `/note` and `/lore`."""

    def __init__(self, database: Database, casting: Casting, turns: Turns) -> None:
        self._direction = database.direction
        self._casting = casting
        self._turns = turns

    async def note(self, place: Place) -> Answer:
        """The author's note for the character who speaks here."""
        channel, character = await self._here(place)
        note = await self._direction.note(channel, character.id)
        if note is None:
            return Answer(f"There is no note for {character.name} here.")
        return Answer(f"{note.depth} messages before the end of every prompt: {note.text}")

    async def set_note(
        self, place: Place, who: Teller, text: str, depth: int | None = None
    ) -> Answer:
        """Remind the character of something in every prompt; `depth` None: as before, or 4."""
        channel, character = await self._changing(place, who)
        text = within_limit(single_spaced(text), LONGEST_NOTE, "A note")
        if depth is None:
            present = await self._direction.note(channel, character.id)
            depth = DEFAULT_DEPTH if present is None else present.depth
        await self._put(channel, character, who, text, depth)
        return await self.note(place)

    async def set_depth(self, place: Place, who: Teller, depth: int) -> Answer:
        """Move the note."""
        channel, character = await self._changing(place, who)
        note = await self._direction.note(channel, character.id)
        if note is None:
            raise CommandError(f"There is no note for {character.name} here; /note set makes one.")
        await self._put(channel, character, who, note.text, depth)
        return await self.note(place)

    async def clear_note(self, place: Place, who: Teller) -> Answer:
        """Take the note away."""
        channel, character = await self._changing(place, who)
        await self._put(channel, character, who, "", 0)
        return Answer(f"There is no note for {character.name} here any more.")

    async def lore(self, place: Place) -> Answer:
        """The channel's lorebook."""
        entries = await self._direction.lore(await self._turns.channel(place))
        if not entries:
            return Answer("This channel has no lore of its own; `/lore add` writes some.")
        return Answer("\n".join(map(_lore_line, entries)))

    async def add_lore(self, place: Place, who: Teller, keys: str, text: str) -> Answer:
        """Add an entry, shown to characters when one of `keys` was said lately.

        `keys` are separated by commas; without any, the entry is always shown.
        """
        channel, _ = await self._changing(place, who)
        found = tuple(key for part in keys.split(",") if (key := single_spaced(well_formed(part))))
        if len(found) > MOST_KEYS or any(len(key) > LONGEST_KEY for key in found):
            raise CommandError(
                f"An entry can have {MOST_KEYS} keys of {LONGEST_KEY} characters; take fewer or"
                " shorter ones."
            )
        text = within_limit(single_spaced(text), LONGEST_LORE, "An entry")
        entry = await self._direction.add_lore(channel, found, text, by=who.key, at=time.time())
        return Answer(_lore_line(entry))

    async def remove_lore(self, place: Place, who: Teller, number: int) -> Answer:
        """Delete an entry."""
        channel, _ = await self._changing(place, who)
        entry = await self._direction.remove_lore(channel, number)
        return Answer(f"Removed: {_lore_line(entry)}")

    async def _put(
        self, channel: Channel, character: Character, who: Teller, text: str, depth: int
    ) -> None:
        if not 0 <= depth <= DEEPEST:
            raise CommandError(f"A note's depth is a number from 0 to {DEEPEST}.")
        await self._direction.set_note(
            channel, character.id, text, depth=depth, by=who.key, at=time.time()
        )

    async def _changing(self, place: Place, who: Teller) -> tuple[Channel, Character]:
        if not who.may_switch:
            raise CommandError("Notes and lore need the permission to change this channel.")
        return await self._here(place)

    async def _here(self, place: Place) -> tuple[Channel, Character]:
        channel = await self._turns.channel(place)
        return channel, self._casting.character(channel)


def _lore_line(entry: Lore) -> str:
    return f"{entry.id}. {', '.join(entry.keys) or 'always'}: {entry.text}"
