"""A reply that was complete once, written anew or continued, or shown as it was put before."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from bot.casting import Casting
from bot.reply import Outcome, Replies, Running
from bot.stage import (
    Delivery,
    DeliveryError,
    DeliveryInterrupted,
    DeliveryRefused,
    ReplyGone,
    ReplyRecord,
    Stage,
)
from bot.turn_log import Kind
from db.channels import Channel
from db.database import Database
from db.messages import Message
from inference.types import GenerationRequest, InferenceError
from persona_prompts.character import Character, CharacterError
from persona_prompts.prompt import PromptTooLong

log = logging.getLogger(__name__)

_CUT_OFF = ("length", "cancelled")  # replies that may have ended in the middle of a sentence


class Rewrites:
    """Changes replies and what shows them. One call at a time per channel: `Turns.begin`."""

    def __init__(
        self, database: Database, casting: Casting, replies: Replies, stage: Stage
    ) -> None:
        self._messages = database.messages
        self._rewriting = database.rewriting
        self._casting = casting
        self._replies = replies
        self._stage = stage

    async def write(
        self, channel: Channel, reply: Message, running: Running, *, going_on: bool
    ) -> None:
        """Write `reply` anew, as a new version of it, or (`going_on`) let it go on.

        Until the first new word the old text stands, in the channel and in the memory. What goes
        wrong is told in the channel, as with any reply.
        """
        question = await self._messages.get(reply.reply_to) if reply.reply_to is not None else None
        if question is None or running.stopped:
            return
        so_far = reply.content if going_on else ""
        try:
            character = self._casting.here(channel, reply.persona or "")
            request = await self._replies.request(
                channel,
                question,
                character,
                running,
                so_far=so_far,
                mid_sentence=reply.finish_reason in _CUT_OFF,
            )
        except (CharacterError, InferenceError, PromptTooLong, ValueError) as error:
            await self._replies.apologise(channel, question, str(error))
            return
        record = ReplyRecord(self._messages, reply, self._first_words(reply, request, going_on))
        delivery = self._stage.delivery(channel, question, record)
        try:
            await delivery.open()
            outcome = await self._written(request, delivery, running, character, so_far)
            if outcome.reason == "cancelled" and not running.stopped:
                return  # the bot is stopping; `restore` settles it after the next start
            await delivery.finish(outcome.text or record.shown)
            await self._settle(record, outcome)
            kind: Kind = "continued" if going_on else "regenerated"
            told = partial(
                self._replies.turn_log.ended, outcome.turn(channel, question, character, kind)
            )
            if outcome.text:
                self._replies.keeper.measure(channel, question, character, outcome.text, told)
            else:
                told()
            if outcome.reason == "error":
                await self._replies.apologise(channel, question, outcome.error)
        except DeliveryInterrupted as interruption:
            log.warning("Reply %d is not shown as it is now: %s", reply.id, interruption)
            await self._settle(record, Outcome(record.shown, "cancelled"))
        except (ReplyGone, DeliveryRefused) as refused:
            log.info("Reply %d cannot be changed any further: %s", reply.id, refused)
            await self._settle(record, Outcome(record.shown, "cancelled"))
        finally:
            await delivery.close()

    async def show(self, channel: Channel, message: Message) -> None:
        """Let the channel show `message` as it is remembered. Raises `DeliveryError`."""
        await self._stage.show(channel, ReplyRecord(self._messages, message), message.content)

    async def refresh(self, channel: Channel, message: Message) -> None:
        """`show`, where it does not matter much."""
        try:
            await self.show(channel, message)
        except DeliveryError as error:
            log.warning("Reply %d is not shown as it is now: %s", message.id, error)

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        """Take a character's posts out of the channel. Raises `DeliveryError`."""
        await self._stage.remove(channel, posts)

    async def say(self, channel: Channel, said: Message) -> None:
        """Let the channel show what a character just said unasked. Raises `DeliveryError`."""
        await self._stage.say(channel, ReplyRecord(self._messages, said), said.content)

    async def restore(self, channel: Channel) -> None:
        """Complete what was being rewritten when the bot or the connection went away."""
        for message in await self._rewriting.interrupted(channel.id):
            await self._messages.finish_reply(
                message.id,
                message.content,
                finish_reason="cancelled",
                adapter=message.adapter or "",
            )
            await self.refresh(channel, message)

    def _first_words(
        self, reply: Message, request: GenerationRequest, going_on: bool
    ) -> Callable[[str], Awaitable[None]]:
        """What stores the first new words, before they are seen."""
        if going_on:
            return partial(self._rewriting.reopen, reply.id)
        return partial(
            self._rewriting.begin_variant,
            reply.id,
            adapter=request.adapter,
            sampling=request.sampling.model_dump(mode="json"),
            created_at=time.time(),
        )

    async def _written(
        self,
        request: GenerationRequest,
        delivery: Delivery,
        running: Running,
        character: Character,
        so_far: str,
    ) -> Outcome:
        try:
            return await self._replies.written(request, delivery, running, character, so_far=so_far)
        except InferenceError as refusal:
            return Outcome("", "error", str(refusal))

    async def _settle(self, record: ReplyRecord, outcome: Outcome) -> None:
        """Complete what was begun; where nothing new was shown, nothing has changed."""
        if record.begun:
            await self._messages.finish_reply(
                record.id, record.shown, finish_reason=outcome.reason, adapter=outcome.adapter
            )
