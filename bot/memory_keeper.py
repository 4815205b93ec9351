"""What memory does once a reply is shown: learn facts, index, measure, and sum up what falls out.

All of it runs beside the replies. Nobody waits for it, a failure is logged and tried again later,
and the model writes summaries only when it has nothing else to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from bot.identity_rates import IdentityRates
from bot.likeness import Likeness
from bot.memory import Model, Recollection
from bot.scene import Ensemble, hidden_up_to, line_of
from bot.statements import statements
from bot.summarizing import cut_to_sentences, is_usable, summary_request
from config import Config
from db.channels import Channel
from db.database import Database, DatabaseError
from db.messages import Message
from db.summaries import Summary
from inference.types import Chunk, GenerationRequest, InferenceError
from persona_prompts.character import Character
from persona_prompts.identity.hygiene import without_unasked_introductions
from persona_prompts.identity.measures import ReplyMeasures, measure_reply
from persona_prompts.prompt import fill_macros

log = logging.getLogger(__name__)

_FULL = 0.9  # of the room in a prompt, from which turns are about to fall out
_KEPT = 0.5  # of that room, for the turns that stay in the window when others are summed up
_LEAST = 4  # messages that are worth a summary
_MOST_STEPS = 50  # of one summary: a scene so long is finished the next time
_PATIENCE_SECONDS = 300.0  # after a failure

Told = Callable[[ReplyMeasures | None], None]


class Writer(Model, Protocol):
    """What summaries need of `inference.client.InferenceClient`."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]: ...


class Keeper:
    """Memory's work in the background. Use it from one event loop."""

    def __init__(
        self,
        config: Config,
        database: Database,
        model: Writer,
        rates: IdentityRates,
        *,
        clock: Callable[[], float] = time.time,
        own: Callable[[Channel], str] | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        """`own` gives the id of a channel's own character; None: as the settings have it.

        `likeness` is kept up to date, and closed in the end.
        """
        self._likeness = likeness
        self._own = own or (lambda channel: channel.persona or config.bot.persona)
        self._config = config
        self._settings = config.memory
        self._database = database
        self._model = model
        self._rates = rates
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: dict[tuple[int, str], Character] = {}
        self._summarizing: asyncio.Task[None] | None = None
        self._failed_at: dict[tuple[int, str], float] = {}
        self._closed = False

    def after(
        self,
        channel: Channel,
        question: Message,
        character: Character,
        made: Recollection | None,
        reply: str,
        told: Told,
    ) -> None:
        """A reply to `question` is shown; `made` is the prompt that led to it. Returns at once.

        `told` is called once, with the reply's measures; None if it could not be measured.
        """
        if self._start(self._chores(channel, question, character, reply, told)) is None:
            told(None)
        if made is not None and (made.prompt.dropped or made.prompt.tokens > _FULL * made.room):
            self.sum_up(channel, character)

    def sum_up(self, channel: Channel, character: Character, *, now: bool = False) -> None:
        """See that what does not fit into the window is summed up. Returns at once.

        After a failure it waits some minutes, unless somebody wants it `now`.
        """
        key = (channel.id, character.id)
        waited = self._clock() - self._failed_at.get(key, 0.0)
        if not self._settings.summary or (waited < _PATIENCE_SECONDS and not now):
            return
        self._due[key] = character
        if self._summarizing is None or self._summarizing.done():
            self._summarizing = self._start(self._summaries())

    async def idle(self) -> None:
        """Return once nothing is left to do."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def close(self) -> None:
        """Finish what takes no model; a summary under way is written after the next start."""
        self._closed = True
        if self._summarizing is not None:
            self._summarizing.cancel()
        if self._likeness is not None:
            await self._likeness.close()
        await self.idle()

    def catch_up(self) -> None:
        """Index what an earlier run left over. Returns at once."""
        self._start(self._index())

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None] | None:
        if self._closed:
            work.close()
            return None
        task = asyncio.create_task(self._guarded(work), name="memory")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except (DatabaseError, InferenceError) as error:
            log.warning("The memory could not be kept up: %s", error)
        except Exception:
            log.exception("The memory could not be kept up.")

    def measure(
        self, channel: Channel, question: Message, character: Character, reply: str, told: Told
    ) -> None:
        """Measure a reply that was put in other words, and tell as `after` does.

        The rates are of replies as they first stood, so it does not count there.
        """
        if self._start(self._measured(channel, question, character, reply, told)) is None:
            told(None)

    async def _chores(
        self, channel: Channel, question: Message, character: Character, reply: str, told: Told
    ) -> None:
        def count(measures: ReplyMeasures | None) -> None:
            if measures is not None:
                self._rates.add(measures)
            told(measures)

        await self._measured(channel, question, character, reply, count)
        if self._settings.facts and not question.passing:
            await self._learn(channel, question, character)
        await self._index()

    async def _measured(
        self, channel: Channel, question: Message, character: Character, reply: str, told: Told
    ) -> None:
        measures = None
        try:
            measures = await self._measure(channel, question, character, reply)
        finally:  # whatever went wrong, the turn is told of
            told(measures)

    async def _index(self) -> None:
        if self._settings.recall:
            left = 1
            while left:  # in steps, between which others use the database
                left = await self._database.recall.catch_up()
            if self._likeness is not None:
                await self._likeness.catch_up()

    async def _learn(self, channel: Channel, question: Message, character: Character) -> None:
        for text in statements(question.content) if question.role == "user" else ():
            await self._database.facts.add(
                channel,
                character.id,
                text,
                author_key=question.author_key,
                author_name=question.author_name,
                at=self._clock(),
                message_id=question.id,
            )

    async def _measure(
        self, channel: Channel, question: Message, character: Character, reply: str
    ) -> ReplyMeasures:
        history = await self._database.messages.history(
            channel, limit=self._config.prompt.history_messages, up_to=question.id
        )
        earlier = [m.content for m in history if m.persona == character.id]
        return await asyncio.to_thread(
            measure_reply,
            reply,
            question.content,
            earlier=earlier,
            names=(character.name, *character.aliases),
            card=_card(character, question.author_name),
        )

    async def _summaries(self) -> None:
        """Write what is due, one summary at a time; one that fails keeps none of the others."""
        while self._due:
            key = next(iter(self._due))
            character = self._due.pop(key)
            self._failed_at[key] = self._clock()
            try:
                if await self._sum_up(key[0], character):
                    del self._failed_at[key]
            except (DatabaseError, InferenceError) as error:
                log.warning("The summary for channel %d waits: %s", key[0], error)

    async def _sum_up(self, channel_id: int, character: Character) -> bool:
        """Bring one summary up to date; False if the model could not do it now."""
        channel = await self._database.channels.by_id(channel_id)
        for _ in range(_MOST_STEPS):
            summary = await self._database.summaries.of(channel, character.id)
            piece = await self._piece(channel, character, summary)
            if not piece:
                return True
            told = await self._told(channel, character, summary, piece)
            if told is None:
                return False
            await self._database.summaries.tell(  # false: the next step sees what is left
                channel,
                character.id,
                told,
                since=summary,
                piece=piece,
                up_to=piece[-1].place,
                at=self._clock(),
            )
        return True

    async def _piece(
        self, channel: Channel, character: Character, summary: Summary
    ) -> list[Message]:
        """What is to be summed up next, oldest first; nothing while the window holds the rest."""
        recall = self._database.recall
        ensemble = Ensemble(self._own(channel), channel.members)
        hidden = await hidden_up_to(recall, channel.id, character.id, ensemble)
        after = max(summary.up_to, channel.scene_start, hidden)
        newest = await self._database.messages.history(
            replace(channel, scene_start=after), limit=self._config.prompt.history_messages
        )
        room = self._room
        kept = int(room * _KEPT)
        border = None
        for message in reversed(newest):
            kept -= self._cost(message)
            if kept < 0:
                break
            border = message.place
        if border is None:
            return []
        found = await recall.oldest(
            channel.id, after=after, before=border, limit=self._config.prompt.history_messages
        )
        piece: list[Message] = []
        for message in found:
            room -= self._cost(message)
            if room < 0 and piece and message.place != piece[-1].place:
                break
            piece.append(message)
        return piece if len(piece) >= _LEAST else []

    @property
    def _room(self) -> int:
        """Tokens of what is summed up at once, with the instructions and the old summary beside."""
        context = min(self._config.prompt.context_tokens, self._model.info.context_length)
        return (context - 2 * self._settings.summary_tokens) * 2 // 3

    def _cost(self, message: Message) -> int:
        return self._model.count_tokens(message.content) + self._model.info.message_overhead

    async def _told(
        self, channel: Channel, character: Character, summary: Summary, piece: list[Message]
    ) -> str | None:
        """The model's new summary; None if it wrote none that could be used."""
        lines = [line_of(m, character.id) for m in piece]
        fed_back = without_unasked_introductions(lines, (character.name, *character.aliases))
        request = summary_request(
            channel, character, summary.told, fed_back, self._settings.summary_tokens
        )
        text, reason = "", ""
        async with aclosing(self._model.generate(request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if chunk.restart else text + chunk.text
                reason = chunk.finish_reason or ""
        text = cut_to_sentences(text) if reason == "length" else text.strip()
        if reason not in ("stop", "length") or not is_usable(text):
            log.warning("The model wrote no usable summary of %s (%s).", channel.name, reason)
            return None
        return text


def _card(character: Character, user_name: str) -> str:
    """The text that describes a character, as evaluations have it."""
    parts = (character.description, character.personality, character.scenario)
    return "\n".join(fill_macros(part, character.called, user_name) for part in parts if part)
