"""A model that says what a test wrote, and a stage that keeps what it is shown."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bot.stage import Delivery, DeliveryError, ReplyRecord
from db.channels import Channel
from db.messages import Message
from inference.adapters import AdapterRegistry
from inference.backend import BackendState
from inference.client import Status
from inference.types import Chunk, FinishReason, GenerationRequest, ModelInfo, Usage

INFO = ModelInfo(
    name="scripted",
    fingerprint="f" * 64,
    device="cpu",
    dtype="float32",
    context_length=2048,
    prompt_format="chatml",
    message_overhead=4,
    prompt_overhead=4,
    tokenizer_json="{}",
    summary="scripted model",
)


@dataclass
class Script:
    """One reply: its pieces, and what happens before, between and after them."""

    pieces: list[str]
    finish: FinishReason = "stop"
    error: str = ""
    refusal: Exception | None = None
    pause: float = 0.0  # seconds before each piece
    gate: asyncio.Event | None = None  # waited for before piece `gate_at`
    gate_at: int = 0
    restart_at: int = -1  # the worker dies before this piece
    usage: Usage | None = None


def words(text: str, **more: object) -> Script:
    """A reply that comes word by word."""
    first, *others = text.split(" ")
    return Script([first, *(f" {word}" for word in others)], **more)  # type: ignore[arg-type]


class ScriptedClient:
    """Stands where `InferenceClient` stands; without a script it repeats what it was told."""

    def __init__(self, adapters: Path) -> None:
        self.info = INFO
        self.adapters = AdapterRegistry(adapters)
        self.scripts: deque[Script | str] = deque()
        self.by_channel: dict[str, deque[Script | str]] = {}
        self.requests: list[GenerationRequest] = []
        self.queue_place = 0
        self.cancelled: list[str] = []
        self.writing = 0
        self.start_gate: asyncio.Event | None = None
        self.start_error: Exception | None = None
        self.shares_devices = False
        self.model_state: BackendState = "ready"
        self.rests, self.wakes = 0, 0
        self._cancels: dict[str, asyncio.Event] = {}

    async def start(self, on_progress: Callable[[str], None] | None = None) -> None:
        if self.start_gate is not None:
            await self.start_gate.wait()
        if self.start_error is not None:
            raise self.start_error

    async def close(self) -> None:
        for cancelled in self._cancels.values():
            cancelled.set()

    async def rest(self) -> None:
        self.rests += 1
        self.model_state = "resting"

    def wake(self) -> None:
        self.wakes += 1
        self.model_state = "ready"

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def status(self) -> Status:
        return Status(
            state=self.model_state,
            model=INFO.summary,
            backends=1,
            waiting=0,
            running=self.writing,
            restarts=0,
            problem="",
            engines=(),
        )

    def place(self, request_id: str) -> int:
        return self.queue_place

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)
        if request_id in self._cancels:
            self._cancels[request_id].set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        waiting = self.by_channel.get(request.channel) or self.scripts
        script = (
            waiting.popleft()
            if waiting
            else f"You said: {request.messages[-1].content.splitlines()[-1]}"
        )
        if isinstance(script, str):
            script = words(script)
        if script.refusal is not None:
            raise script.refusal
        cancelled = self._cancels[request.id] = asyncio.Event()
        self.writing += 1
        try:
            for number, piece in enumerate(script.pieces):
                if script.gate is not None and number == script.gate_at:
                    await _first(script.gate.wait(), cancelled.wait())
                await asyncio.sleep(script.pause)
                if cancelled.is_set():
                    yield Chunk(finish_reason="cancelled", adapter="base")
                    return
                if number == script.restart_at:
                    yield Chunk(restart=True)
                yield Chunk(text=piece)
            yield Chunk(
                finish_reason=script.finish,
                error=script.error,
                adapter="base",
                usage=script.usage,
            )
        finally:
            self.writing -= 1


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that has to be asked for."""
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _first(*waits: object) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@dataclass
class Shown:
    """What a stage was shown, in order."""

    replies: list[tuple[str, str]] = field(default_factory=list)  # channel key, text
    updates: list[str] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


class ScriptedStage:
    """Keeps everything; `broken` is raised instead of showing, `broken_after` after storing."""

    def __init__(self) -> None:
        self.shown = Shown()
        self.broken: DeliveryError | None = None
        self.broken_after: DeliveryError | None = None
        self.next_post = 9000
        self.attempts = 0

    def delivery(self, channel: Channel, question: Message | None, record: ReplyRecord) -> Delivery:
        return _ScriptedDelivery(self, channel, record)

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.shown.notices.append((channel.key, sentence))

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.shown.said.append((channel.key, text))

    async def show(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.shown.changed.append((channel.key, text))

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        if self.broken is not None:
            raise self.broken
        self.shown.removed.extend(posts)


class _ScriptedDelivery:
    def __init__(self, stage: ScriptedStage, channel: Channel, record: ReplyRecord) -> None:
        self._stage = stage
        self._channel = channel
        self.record = record

    async def open(self) -> None:
        self._stage.attempts += 1
        if self._stage.broken is not None:
            raise self._stage.broken

    def update(self, text: str) -> None:
        self._stage.shown.updates.append(text)

    async def finish(self, text: str) -> None:
        if self._stage.broken is not None:
            raise self._stage.broken
        await self.record.showing(text)
        if self._stage.broken_after is not None:
            raise self._stage.broken_after
        if not self.record.posts:
            self._stage.next_post += 1
            await self.record.posted(self._stage.next_post)
        self._stage.shown.replies.append((self._channel.key, text))

    async def close(self) -> None:
        pass
