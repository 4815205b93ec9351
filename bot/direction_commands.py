"""`/note`: what people add to a character's prompts, as functions that know no Discord."""

from __future__ import annotations

import time

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.memory_commands import Teller
from bot.plain_text import single_spaced, within_limit
from bot.turn import Turns
from db.channels import Channel
from db.database import Database
from persona_prompts.character import Character

DEFAULT_DEPTH = 4  # messages, as in SillyTavern
DEEPEST = 100
LONGEST_NOTE = 500  # characters


class DirectionCommands:
    """The commands under `/note`."""

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
            raise CommandError("Changing the note needs the permission to change this channel.")
        return await self._here(place)

    async def _here(self, place: Place) -> tuple[Channel, Character]:
        channel = await self._turns.channel(place)
        return channel, self._casting.character(channel)
