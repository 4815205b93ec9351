"""One reply, from the question to what the channel shows and the memory keeps."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bot.casting import Casting
from bot.choosing import Choosing
from bot.identity_rates import IdentityRates
from bot.memory import Memory
from bot.memory_keeper import Keeper
from bot.opening import Opening
from bot.passing import Passing
from bot.plain_text import well_formed
from bot.stage import (
    Delivery,
    DeliveryError,
    DeliveryRefused,
    ReplyGone,
    ReplyRecord,
    Stage,
)
from bot.staging import staging_of
from bot.turn_log import UNTIMED, Kind, Stopwatch, Timing, Turn, TurnLog
from config import Config
from db.channels import Channel
from db.database import Database
from db.messages import AnswerState, Message
from inference import types as inference
from inference.types import Chunk, GenerationRequest, InferenceError, ModelInfo, Sampling, Usage
from persona_prompts.character import Character, CharacterError
from persona_prompts.prompt import PromptTooLong
from persona_prompts.spoken import spoken

log = logging.getLogger(__name__)

_RETRY_SEED_STEP = 1_000_003  # a reproducible run stays reproducible through its retries
_MOST_STOPS = 32


class Generator(Protocol):
    """What a reply needs of `inference.client.InferenceClient`."""

    @property
    def info(self) -> ModelInfo: ...

    def count_tokens(self, text: str) -> int: ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]: ...

    def cancel(self, request_id: str) -> None: ...

    def place(self, request_id: str) -> int: ...


@dataclass(slots=True)
class Running:
    """The reply that a channel is busy with."""

    question_id: int
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    reply_id: int | None = None
    stopped: bool = False  # somebody of the channel ended it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How generation ended."""

    text: str
    reason: inference.FinishReason
    error: str = ""
    adapter: str = ""
    usage: Usage | None = None
    timing: Timing = UNTIMED

    def turn(
        self, channel: Channel, question: Message, character: Character, kind: Kind = "reply"
    ) -> Turn:
        """What the log tells of it."""
        return Turn(
            channel.key,
            question.id,
            kind,
            character.id,
            self.adapter,
            self.reason,
            self.timing,
            self.usage,
            asked="" if question.passing else question.content,
            said="" if question.passing else self.text,
        )


class NothingSaid(InferenceError):
    """The model ended its reply before the first word, twice."""


class Replies:
    """Writes replies. One call at a time per channel; different channels may overlap."""

    def __init__(
        self,
        config: Config,
        database: Database,
        casting: Casting,
        client: Generator,
        stage: Stage,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._messages = database.messages
        self._database = database
        self._casting = casting
        self.choosing = Choosing(config, database, casting)
        self._client = client
        self._stage = stage
        self.rates = IdentityRates()
        self.turn_log = TurnLog(messages=config.log.messages)
        self.passing = Passing(config.privacy, database, clock=clock)
        self.memory = Memory(config, database, client, passing=self.passing)
        self.keeper = Keeper(
            config, database, client, self.rates, own=casting.own, likeness=self.memory.likeness
        )

    async def answer(
        self,
        channel: Channel,
        question: Message,
        running: Running,
        character: Character | None = None,
    ) -> None:
        """Answer `question` in its channel, or say there in a sentence why that is not possible.

        `character` speaks; None: whoever of the cast should.
        The question ends as answered or failed, except where it stays owed on purpose: while the
        bot is being stopped, or when `DeliveryInterrupted` is raised, because the front end cannot
        be reached.
        """
        try:
            character = character or await self.choosing.speaker(channel, question)
            request = await self.request(channel, question, character, running)
            reply = await self._messages.begin_reply(
                channel.id,
                question=question.id,
                persona=character.id,
                persona_name=character.name,
                adapter=request.adapter,
                sampling=request.sampling.model_dump(mode="json"),
                passing=question.passing,  # also if it was deleted meanwhile
            )
        except (CharacterError, InferenceError, PromptTooLong, ValueError) as error:
            await self._refuse(channel, question, str(error))
            return
        running.reply_id = reply.id
        record = ReplyRecord(self._messages, reply)
        delivery = self._stage.delivery(channel, question, record)
        try:
            await delivery.open()
            await self._show(channel, question, request, delivery, record, running, character)
        except ReplyGone as gone:
            log.info("The reply to message %d was removed: %s", question.id, gone)
            await self._drop(record, question, "answered")
            self.turn_log.unanswered(channel.key, question, "gone", character.id)
        except DeliveryRefused as refused:
            log.warning("The reply to message %d cannot be shown: %s", question.id, refused)
            await self._drop(record, question, "failed")
            self.turn_log.unanswered(channel.key, question, "undelivered", character.id)
        finally:
            await delivery.close()

    def _sampling(self, channel: Channel) -> Sampling:
        sampling = self._casting.sampling(channel)
        most = longest_reply(self._config, self._client.info)
        seed = self._casting.overrides.next_seed() if sampling.seed is None else sampling.seed
        return sampling.replace(max_new_tokens=min(sampling.max_new_tokens, most), seed=seed)

    async def request(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        running: Running,
        *,
        so_far: str = "",
        mid_sentence: bool = False,
    ) -> GenerationRequest:
        """What the model is asked for a reply to `question`, or for more of it after `so_far`.

        `mid_sentence`: the reply was cut off there, so the model goes on where it ends; otherwise
        the character speaks once more. Raises what `answer` turns into a sentence.
        """
        sampling = self._sampling(channel)
        staging = await staging_of(
            self._casting, self._database, channel, question, character, running.reply_id
        )
        made = await self.memory.prompt(
            channel,
            question,
            character,
            reply_tokens=sampling.max_new_tokens,
            so_far=so_far,
            staging=staging,
        )
        prompt = made.prompt
        stops = tuple(dict.fromkeys((*sampling.stop, *staging.stops, *prompt.stop)))[:_MOST_STOPS]
        return GenerationRequest(
            id=running.request_id,
            messages=tuple(
                inference.Message(role=message.role, content=message.content)
                for message in prompt.messages
            ),
            continues=mid_sentence and bool(so_far) and self._client.info.continues,
            adapter=self._casting.adapter(channel, character.id),
            sampling=sampling.sparing(prompt.names).replace(stop=stops),
            guild=channel.guild_key or "",
            channel=channel.key,
            user=question.author_key,
        )

    async def _show(
        self,
        channel: Channel,
        question: Message,
        request: GenerationRequest,
        delivery: Delivery,
        record: ReplyRecord,
        running: Running,
        character: Character,
    ) -> None:
        """Stream the reply, then settle what the memory keeps of it."""
        try:
            outcome = await self.written(request, delivery, running, character)
        except InferenceError as refusal:
            outcome = Outcome("", "error", str(refusal))
        text = outcome.text or record.shown
        if outcome.reason == "cancelled" and not running.stopped:
            return  # the bot is stopping; the question stays owed
        if text:
            await delivery.finish(text)
            await self._messages.finish_reply(
                record.id, text, finish_reason=outcome.reason, adapter=outcome.adapter
            )
            made = self.memory.last(channel, character.id)
            told = partial(self.turn_log.ended, outcome.turn(channel, question, character))
            self.keeper.after(channel, question, character, made, text, told)
        else:
            await self._messages.abandon_reply(record.id)
            self.turn_log.ended(outcome.turn(channel, question, character))
        if outcome.reason == "error":
            log.warning("The reply to message %d failed: %s", question.id, outcome.error)
            await self._messages.set_answer(question.id, "failed")
            await self.apologise(channel, question, outcome.error)
        elif not text:  # stopped before its first word
            await self._messages.set_answer(question.id, "answered")

    async def written(
        self,
        request: GenerationRequest,
        delivery: Delivery,
        running: Running,
        character: Character,
        *,
        so_far: str = "",
    ) -> Outcome:
        """The reply; one that ends before its first word is tried once more with another seed.

        So is one that opens with an introduction, where the settings say so. It begins with
        `so_far`, what was said of it before. Raises `InferenceError`.
        """
        if running.stopped:  # before the model was asked, so that it would not hear of it
            return Outcome("", "cancelled")
        opening = self._opening(request, character, so_far)
        watch = Stopwatch()
        outcome = await self._stream(request, delivery, character, watch, so_far, opening)
        if running.stopped and outcome is None:
            return Outcome("", "cancelled")
        if outcome is not None and (
            outcome.text or outcome.reason not in ("stop", "length") or running.stopped
        ):
            return outcome
        seed = ((request.sampling.seed or 0) + _RETRY_SEED_STEP) % 2**63
        running.request_id = uuid.uuid4().hex
        again = request.model_copy(
            update={"id": running.request_id, "sampling": request.sampling.replace(seed=seed)}
        )
        outcome = await self._stream(again, delivery, character, watch, so_far)
        if outcome is None or (not outcome.text and outcome.reason in ("stop", "length")):
            raise NothingSaid(f"{character.name} found no words for that; ask in another way.")
        return outcome

    def _opening(
        self, request: GenerationRequest, character: Character, so_far: str
    ) -> Opening | None:
        """What watches the first words of a reply; None where nobody asked for that."""
        asked = request.messages[-1]
        if not self._config.bot.resample_introductions or so_far or asked.role != "user":
            return None
        return Opening(asked.content, (character.name, *character.aliases))

    async def _stream(
        self,
        request: GenerationRequest,
        delivery: Delivery,
        character: Character,
        watch: Stopwatch,
        so_far: str,
        opening: Opening | None = None,
    ) -> Outcome | None:
        """What came of `request`; None if it opened with an introduction and was given up."""
        raw = text = ""
        names = (character.name, *character.aliases)
        async with aclosing(self._client.generate(request)) as chunks:
            async for chunk in chunks:
                raw = chunk.text if chunk.restart else raw + chunk.text
                complete = chunk.finish_reason is not None
                text = spoken(raw, names, complete=complete, stops=request.sampling.stop)
                if so_far and text:
                    text = so_far + (well_formed(raw).rstrip() if request.continues else f" {text}")
                if opening is not None and chunk.finish_reason not in ("cancelled", "error"):
                    match opening.introduces(text, complete=chunk.finish_reason is not None):
                        case None:
                            continue  # nothing is shown that may have to be taken back
                        case True:
                            return None
                    opening = None
                if text:
                    watch.words()
                if chunk.finish_reason is not None:
                    return Outcome(
                        text, chunk.finish_reason, chunk.error, chunk.adapter,
                        chunk.usage, watch.read(chunk.usage),
                    )  # fmt: skip
                if text:
                    delivery.update(text)
        return Outcome(text, "error", "The model's reply broke off; please ask again.")

    async def _refuse(self, channel: Channel, question: Message, sentence: str) -> None:
        """Tell the channel why there will be no reply; nothing of one exists yet."""
        log.warning("Message %d cannot be answered: %s", question.id, sentence)
        await self._messages.set_answer(question.id, "failed")
        self.turn_log.unanswered(channel.key, question, "refused")
        await self.apologise(channel, question, sentence)

    async def fail(self, channel: Channel, question: Message, sentence: str) -> None:
        """Tell the channel, and the log, of a turn that broke off for a reason of the bot's."""
        self.turn_log.unanswered(channel.key, question, "error")
        await self.apologise(channel, question, sentence)

    async def apologise(self, channel: Channel, question: Message, sentence: str) -> None:
        """Show `sentence` under `question`, where that is possible."""
        try:
            await self._stage.notice(channel, question, sentence)
        except DeliveryError as error:
            log.warning("Message %d could not be told so: %s", question.id, error)

    async def _drop(self, record: ReplyRecord, question: Message, answer: AnswerState) -> None:
        """End a reply that cannot be shown any further; what stands in the channel stays."""
        if record.posts:
            await self._messages.finish_reply(
                record.id, record.shown, finish_reason="cancelled", adapter=""
            )
        else:
            await self._messages.abandon_reply(record.id)
        await self._messages.set_answer(question.id, answer)


def context_tokens(config: Config, info: ModelInfo) -> int:
    """Tokens that prompt and reply share."""
    return min(config.prompt.context_tokens, info.context_length)


def longest_reply(config: Config, info: ModelInfo) -> int:
    """Most tokens of a reply; the prompt keeps at least as many."""
    return context_tokens(config, info) // 2
