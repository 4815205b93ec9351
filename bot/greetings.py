"""How a character opens a scene: with a greeting, behind which its others wait as swipes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from bot.casting import Casting
from bot.scene import greeting_of, opening_text
from bot.stage import DeliveryError, ReplyRecord, Stage
from db.channels import Channel
from db.database import Database
from db.messages import Message
from persona_prompts.character import Character

log = logging.getLogger(__name__)


class Greetings:
    """Opens scenes, and follows when people swipe to another opening."""

    def __init__(
        self, database: Database, casting: Casting, stage: Stage, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._casting = casting
        self._stage = stage
        self._clock = clock

    async def greet(self, channel: Channel, character: Character, user_name: str) -> Message | None:
        """Let `character` open a scene with its greeting; None if it has none."""
        own, now = character.id == self._casting.own(channel), self._clock()
        text = opening_text(channel, character, user_name, now, own=own)
        if not text:
            return None
        async with self._database.transaction():
            said = await self._database.messages.add_said(
                channel.id,
                persona=character.id,
                persona_name=character.name,
                content=text,
                created_at=now,
            )
            if own:
                await self._offer_others(said, channel, character, user_name, now)
        try:
            record = ReplyRecord(self._database.messages, said)
            await self._stage.say(channel, record, text)
        except DeliveryError as error:
            # It stays in the memory all the same: the prompt opens with the greeting anyway.
            log.warning("%s could not greet in %s: %s", character.name, channel.name, error)
        return said

    async def swiped(self, channel: Channel, said: Message, step: int, versions: int) -> None:
        """Version `step` further of `said` is shown; if it opens the scene, that goes on from it.

        The greeting's number stays with the scene, since lore may depend on it.
        """
        if said.reply_to is not None or said.persona != self._casting.own(channel):
            return
        character = self._casting.character(channel)
        numbers = _offered(channel, character)
        if channel.greeting in numbers and len(numbers) == versions:
            at = (numbers.index(channel.greeting) + step) % versions
            await self._database.channels.set(channel.id, greeting=numbers[at])

    async def _offer_others(
        self, said: Message, channel: Channel, character: Character, user_name: str, now: float
    ) -> None:
        """The character's other greetings as versions of `said`, in their order from there."""
        numbers = _offered(channel, character)
        first = numbers.index(greeting_of(channel, character, own=True))
        for number in (*numbers[first + 1 :], *numbers[:first]):
            text = opening_text(
                replace(channel, greeting=number), character, user_name, now, own=True
            )
            await self._database.feedback.add_variant(
                said.id, text, adapter=None, sampling=None, finish_reason=None, created_at=now
            )


def _offered(channel: Channel, character: Character) -> list[int]:
    """The numbers of the greetings that say something."""
    greetings = character.greetings(group=channel.group)
    return [number for number, text in enumerate(greetings) if text.strip()]
