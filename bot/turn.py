"""The turn: hear a message, remember it, decide whether to answer, answer in order.

It knows neither Discord nor a terminal. A front end calls `hear`, `edited` and `deleted`, and
offers a `Stage` that shows replies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakValueDictionary

from bot.attention import Attention
from bot.blocking import Blocking
from bot.casting import Casting
from bot.errors import UNEXPECTED, CommandError
from bot.greetings import Greetings
from bot.incoming import Incoming, Place
from bot.limits import Limits
from bot.places import channel_of
from bot.plain_text import well_formed
from bot.reply import Generator, Replies, Running
from bot.rewriting import Rewrites
from bot.speaking import Speaking
from bot.stage import DeliveryInterrupted, Stage
from config import Config
from db.channels import Channel
from db.database import Database, DatabaseError
from db.messages import Message
from persona_prompts.character import Character

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class _Line:
    """The questions of one channel that wait for their reply, and the task that works them off."""

    waiting: deque[int] = field(default_factory=deque)
    running: Running | None = None
    task: asyncio.Task[None] | None = None


class Turns:
    """Everything that is said, in every channel. Use it from one event loop.

    `ready` is set once the model can answer; until then messages are heard and kept waiting.
    """

    RETRY_SECONDS = 30.0  # after the front end could not be reached

    def __init__(
        self,
        config: Config,
        database: Database,
        casting: Casting,
        client: Generator,
        stage: Stage,
        *,
        ready: asyncio.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._channels = database.channels
        self._messages = database.messages
        self._privacy = database.privacy
        self._casting = casting
        self._client = client
        self._ready = ready
        self._clock = clock
        self._replies = Replies(config, database, casting, client, stage, clock=clock)
        self.passing = self._replies.passing
        self.blocking = Blocking(config.bot, database)
        self.limits = Limits(config.limits, clock=clock)
        speaking = Speaking(config.bot, database, clock=clock)
        self._attention = Attention(casting, self._replies.choosing, speaking, self.limits)
        self.memory, self.keeper = self._replies.memory, self._replies.keeper
        self.rates, self.turn_log = self._replies.rates, self._replies.turn_log
        self.greetings = Greetings(database, casting, stage, clock)
        self.rewrites = Rewrites(database, casting, self._replies, stage)
        self._lines: dict[int, _Line] = {}
        self._hearing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closed = False

    async def channel(self, place: Place) -> Channel:
        """The memory's record of a place; a new thread starts with its parent's settings."""
        return await channel_of(self._channels, place)

    async def hear(self, incoming: Incoming, *, missed: bool = False) -> Message | None:
        """Remember a message and, if somebody waits for a reply to it, see to it.

        A `missed` message was said while the bot was away: it is answered if it was said to the
        bot and is not too old. Returns what is remembered; None if the message says nothing, or
        nothing may be kept of it. Raises `DatabaseError`.
        """
        content = well_formed(incoming.text())
        if not content:
            return None
        async with self._lock(incoming.place.key):
            channel = await self.channel(incoming.place)
            message, refusal = await self._hear(channel, incoming, content, missed=missed)
        if message is not None and refusal:
            await self._replies.apologise(channel, message, refusal)
        await self.passing.ended(message)
        return message

    async def _hear(
        self, channel: Channel, incoming: Incoming, content: str, *, missed: bool
    ) -> tuple[Message | None, str]:
        """What is remembered of a message, and what its author is told instead of a reply."""
        if self.blocking.applies(channel.guild_key, incoming.author_key):
            await self.passing.unheard(channel, incoming)
            return None, ""
        replied = None
        if incoming.reply_to_post is not None:
            replied = await self._messages.by_post(incoming.reply_to_post)
        if missed:
            owed = self._attention.missed(channel, incoming, replied, since=self._oldest_owed())
        else:
            busy = channel.id in self._lines
            owed = await self._attention.owed(channel, incoming, replied, busy=busy)
        message = await self.passing.remember(channel, incoming, content, replied, owed)
        if message is None:
            return None, ""
        if self._config.log.messages and not message.passing:
            log.info("%s in %s: %s", message.author_name, channel.name, content)
        if message.answer == "owed":
            self._line_up(message)
        return message, owed.refusal

    async def edited(self, incoming: Incoming, edited_at: float) -> None:
        """Follow an edit of a remembered message; one that waits is answered as it is now.

        New words that may not be kept take the old ones with them.
        """
        content, post_id = well_formed(incoming.text()), incoming.post_id
        channel = await self._channels.get(incoming.place.key)
        if not content or post_id is None or channel is None:
            return
        blocked = self.blocking.applies(channel.guild_key, incoming.author_key)
        if blocked or not await self.passing.may_edit(channel, incoming.author_key, post_id):
            await self.deleted(channel.key, post_id)
            return
        async with self._lock(channel.key):
            self.memory.changed(await self._messages.edit(post_id, content, edited_at))
            self.passing.edited(post_id, content)

    async def deleted(self, place_key: str, post_id: int, *, own: bool = False) -> None:
        """Follow a deletion: what is gone leaves the memory, and nobody waits for its reply."""
        async with self._lock(place_key):
            message = await self._messages.delete_post(post_id)
        self.passing.deleted(post_id)
        self.memory.changed(message)
        line = self._lines.get(message.channel_id) if message is not None else None
        # `own`: the reply being written took the post away itself, and goes on.
        if message is None or line is None or own:
            return
        if message.id in line.waiting:
            line.waiting.remove(message.id)
        if line.running and message.id in (line.running.question_id, line.running.reply_id):
            self._stop(line.running)

    async def forget(self, author_key: str) -> int:
        """Forget a person, and end replies to what they said; returns how many messages went."""
        forgotten = await self._privacy.forget_author(author_key)
        self.passing.forget(author_key)
        self.memory.forget()
        for line in list(self._lines.values()):
            running = line.running
            if running is not None and await self._messages.get(running.question_id) is None:
                self._stop(running)
        return forgotten

    async def resume(self, channels: Iterable[Channel]) -> int:
        """Answer what these channels still wait for, oldest first; returns how many questions."""
        found = 0
        for channel in channels:
            if channel.id not in self._lines:
                await self.rewrites.restore(channel)
            for question in await self._messages.owed(channel.id, since=self._oldest_owed()):
                if question.unasked:  # the moment for that is past
                    await self._messages.set_answer(question.id, "none")
                else:
                    found += self._line_up(question)
        return found

    def _oldest_owed(self) -> float:
        """Questions from before this time are no longer answered after a restart."""
        return self._clock() - self._config.bot.catch_up_hours * 3600

    async def greet(self, channel: Channel, character: Character, user_name: str) -> Message | None:
        """Let `character` open a scene with its greeting; None if it has none."""
        return await self.greetings.greet(channel, character, user_name)

    def begin(
        self,
        channel: Channel,
        running: Running,
        work: Callable[[Running], Coroutine[object, object, T]],
        *,
        model: bool = False,
    ) -> asyncio.Future[T]:
        """Start `work` on what was said in `channel`; what is said meanwhile waits for its end.

        With `model` it begins once the model can answer. Raises `CommandError` while a reply is
        being written there: only one thing at a time happens in a channel.
        """
        if self._closed or channel.id in self._lines:
            raise CommandError("I am in the middle of a reply here; wait for it, or stop it first.")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        line = self._lines[channel.id] = _Line(running=running)

        async def first() -> None:
            try:
                if model:
                    await self._ready.wait()
                result = await work(running)
                if not done.done():  # cancelled: whoever waited for it is gone
                    done.set_result(result)
            except asyncio.CancelledError:
                done.cancel()
                raise
            except Exception as error:
                if done.done():
                    log.error("What nobody waits for in %s failed.", channel.name, exc_info=error)
                else:
                    done.set_exception(error)

        line.task = asyncio.create_task(
            self._work(channel.id, line, first()), name=f"channel {channel.id}"
        )
        return done

    def running(self, channel: Channel) -> Running | None:
        """The reply that the channel is busy with."""
        line = self._lines.get(channel.id)
        return None if line is None else line.running

    def stop(self, channel: Channel, running: Running) -> bool:
        """End the reply `running`; False if the channel is not busy with it any more."""
        if still := self.running(channel) is running:
            self._stop(running)
        return still

    def waiting(self, channel: Channel) -> int:
        """How many questions of the channel wait, the one being answered included."""
        line = self._lines.get(channel.id)
        return 0 if line is None else len(line.waiting) + (line.running is not None)

    def place(self, channel: Channel) -> int:
        """The place of the channel's next reply in the queue of all channels; 0: not in it."""
        line = self._lines.get(channel.id)
        if line is None or line.running is None:
            return 0
        return self._client.place(line.running.request_id)

    async def idle(self, channel: Channel | None = None) -> None:
        """Return once nothing (of `channel`) waits for a reply any more."""
        while tasks := [
            line.task
            for channel_id, line in self._lines.items()
            if line.task is not None and (channel is None or channel.id == channel_id)
        ]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop answering; what is owed stays owed and is answered after the next start."""
        self._closed = True
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.keeper.close()

    def _lock(self, place_key: str) -> asyncio.Lock:
        lock = self._hearing.get(place_key)
        if lock is None:
            lock = self._hearing[place_key] = asyncio.Lock()
        return lock

    def _stop(self, running: Running) -> None:
        running.stopped = True
        self._client.cancel(running.request_id)

    def _line_up(self, question: Message) -> bool:
        """Let `question` wait for its turn in its channel, unless it already does."""
        if self._closed:
            return False
        line = self._lines.setdefault(question.channel_id, _Line())
        busy_with = line.running.question_id if line.running else None
        if question.id == busy_with or question.id in line.waiting:
            return False
        line.waiting.append(question.id)
        if line.task is None:
            line.task = asyncio.create_task(
                self._work(question.channel_id, line), name=f"channel {question.channel_id}"
            )
        return True

    async def _work(
        self, channel_id: int, line: _Line, first: Awaitable[None] | None = None
    ) -> None:
        """Answer the channel's questions one after the other, until none is left."""
        try:
            if first is not None:
                await first
                line.running = None
            while line.waiting:
                await self._ready.wait()
                line.running = Running(line.waiting.popleft())
                settled = await self._answer(channel_id, line.running)
                if not settled and not line.running.stopped:
                    line.waiting.appendleft(line.running.question_id)
                line.running = None
                if not settled:
                    await asyncio.sleep(self.RETRY_SECONDS)
        finally:
            del self._lines[channel_id]

    async def _answer(self, channel_id: int, running: Running) -> bool:
        """Answer one question; whatever goes wrong is told and does not reach the next one.

        False if the front end could not be reached, so that it should be tried again.
        """
        channel = question = None
        try:
            question = await self._messages.get(running.question_id)
            if question is None or question.answer != "owed" or running.stopped:
                return True
            channel = await self._channels.by_id(channel_id)
            if self.blocking.applies(channel.guild_key, question.author_key):
                await self._messages.set_answer(question.id, "none")
                await self.passing.ended(question)
                return True
            await self._replies.answer(channel, question, running)
            await self._let_others_speak(channel, question, running)
        except DeliveryInterrupted as interruption:
            log.warning("The reply to message %d waits: %s", running.question_id, interruption)
            return False
        except DatabaseError as error:
            log.error("Message %d cannot be answered: %s", running.question_id, error)
            await self._apologise(channel, question, str(error))
        except Exception:
            log.exception("Message %d cannot be answered.", running.question_id)
            await self._apologise(channel, question, UNEXPECTED)
            await self._give_up(running.question_id)
        await self.passing.ended(question)
        return True

    async def _let_others_speak(
        self, channel: Channel, question: Message, running: Running
    ) -> None:
        """Further characters of the channel may answer, too, or what one of them said."""
        line = self._lines[channel.id]
        choosing, spoken = self._replies.choosing, 0
        while not running.stopped and not self._closed:
            channel = await self._channels.by_id(channel.id)
            named_only = bool(line.waiting)  # people who wait come first
            found = await choosing.next(channel, question, spoken, only_named=named_only)
            if found is None:
                return
            character, spoken = found
            running = line.running = Running(question.id)
            await self._replies.answer(channel, question, running, character)

    async def _apologise(
        self, channel: Channel | None, question: Message | None, sentence: str
    ) -> None:
        if channel is not None and question is not None:
            await self._replies.fail(channel, question, sentence)

    async def _give_up(self, question_id: int) -> None:
        """A question that breaks the bot is not tried again at every start."""
        try:
            await self._messages.set_answer(question_id, "failed")
        except DatabaseError as error:
            log.error("Message %d cannot be marked as failed: %s", question_id, error)
