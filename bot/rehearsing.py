"""Making room for a training: the bot frees the GPU, says that it rehearses, and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from bot.casting import Casting
from bot.stage import DeliveryError, Stage
from bot.turn import Turns
from config import Config
from db.channels import Channel
from db.database import Database, DatabaseError
from db.messages import Message
from inference.client import Status
from inference.gpu_lease import rehearsal_wanted

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
BEGINS = "A training asks for the GPU: replies under way end, others wait."
ENDS = "The training is over: the model is loaded again."
LOADS_LATER = "A training has the GPU; the model is loaded afterwards."
MODEL_RESTS = "rehearsing: a training has the GPU, and messages wait until it is over"

Listener = Callable[[bool], Awaitable[None]]


class Worker(Protocol):
    """What of `inference.client.InferenceClient` makes room."""

    @property
    def shares_devices(self) -> bool: ...

    async def rest(self) -> None: ...

    def wake(self) -> None: ...

    def status(self) -> Status: ...


class Rehearsing:
    """Looks every two seconds whether a training wants the devices of this company's workers.

    `ready` is the turns' own: while it is not set, what is said waits in its channel's line.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        casting: Casting,
        client: Worker,
        turns: Turns,
        stage: Stage,
        ready: asyncio.Event,
    ) -> None:
        self._data = config.paths.data
        self._database = database
        self._casting = casting
        self._client = client
        self._turns = turns
        self._stage = stage
        self._ready = ready
        self._state: Literal["serving", "resting", "waking"] = "serving"
        self._told: set[int] = set()  # channels that know of this rehearsal
        self._listeners: list[Listener] = []
        self._rest: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a training has the devices, or is being given them."""
        return self._state == "resting"

    def on_change(self, listener: Listener) -> None:
        """`listener` hears True when a rehearsal begins, and False when replies come again."""
        self._listeners.append(listener)

    async def over(self, say: Callable[[str], None]) -> None:
        """Return once no training has the devices: only then may the model be loaded at all."""
        if not self._client.shares_devices or not self._wanted():
            return
        say(LOADS_LATER)
        self._state = "resting"
        await self._tell_listeners()
        while self._wanted():
            await self._tell_who_waits()
            await asyncio.sleep(LOOK_SECONDS)
        self._state = "waking"

    def start(self) -> None:
        """From now on make room whenever it is wanted; the model is loaded."""
        if self._client.shares_devices:
            self._watch = asyncio.create_task(self._keep_looking(), name="rehearsing")

    async def close(self) -> None:
        """Look no more; nothing is woken."""
        tasks = [task for task in (self._watch, self._rest) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # a look that fails must not be the last
                log.exception("It could not be seen to that a training has room.")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        wanted = self._wanted()
        if wanted and self._state != "resting":
            await self._begin()
        elif not wanted and self._state == "resting":
            await self._end()
        if self._state == "resting":
            await self._tell_who_waits()
        elif self._state == "waking" and self._client.status().state in ("ready", "failed"):
            # Where it failed, its reason is what people are told now.
            self._state = "serving"
            self._ready.set()
            self._told.clear()
            await self._tell_listeners()

    def _wanted(self) -> bool:
        try:
            return rehearsal_wanted(self._data)
        except OSError as error:
            log.warning("It cannot be seen whether a training wants the GPU: %s", error)
            return False

    async def _begin(self) -> None:
        log.info(BEGINS)
        self._state = "resting"
        self._ready.clear()
        self._rest = asyncio.create_task(self._client.rest(), name="rest")
        await self._tell_listeners()

    async def _end(self) -> None:
        log.info(ENDS)
        self._state = "waking"
        self._client.wake()
        if self._rest is not None:
            await self._rest

    async def _tell_listeners(self) -> None:
        for listener in self._listeners:
            await listener(self.under_way)

    async def _tell_who_waits(self) -> None:
        """One notice in each channel whose next reply has to wait."""
        try:
            for question in await self._database.messages.owed(since=0.0):
                if question.channel_id in self._told or question.unasked:
                    continue
                channel = await self._database.channels.by_id(question.channel_id)
                if self._waits(channel):
                    self._told.add(channel.id)
                    await self._tell(channel, question)
        except DatabaseError as error:
            log.warning("Those who wait cannot be told so: %s", error)

    def _waits(self, channel: Channel) -> bool:
        """Not while the channel's reply is still being written."""
        if self._turns.running(channel) is not None:
            return self._turns.place(channel) > 0
        return self._turns.waiting(channel) > 0

    async def _tell(self, channel: Channel, question: Message) -> None:
        name = self._casting.character(channel).name
        try:
            await self._stage.notice(
                channel, question, f"{name} is rehearsing; your message waits until that is over."
            )
        except DeliveryError as error:
            log.warning("%s could not be told of the rehearsal: %s", channel.name, error)
