"""The bot's side of inference: one call that gives a stream of text, whatever happens behind it.

`InferenceClient` keeps the queue and hands requests to the worker as it has room. A request lives
here until its last chunk, so nothing is lost with a worker: what a dead one held is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from config import Config
from inference.adapters import AdapterInfo, AdapterRegistry
from inference.engine.interface import EngineStats
from inference.queue import FairQueue
from inference.supervisor import Supervisor, WorkerState
from inference.types import (
    Chunk,
    GenerationRequest,
    InferenceError,
    ModelInfo,
    RequestRefused,
)
from inference.worker import Cancel, Piece, Ready, Submit

log = logging.getLogger(__name__)

_ATTEMPTS = 2  # a request that was with a dying worker is tried once more


@dataclass(frozen=True, slots=True)
class Status:
    """How inference is doing right now."""

    state: WorkerState
    model: str
    waiting: int
    running: int
    restarts: int
    problem: str  # why there is no worker, if there is none
    engine: EngineStats | None  # what the worker last said of itself

    @property
    def tokens_per_second(self) -> float:
        """Of all replies together, over the engine's last steps."""
        return self.engine.tokens_per_second if self.engine else 0.0


@dataclass(slots=True)
class _Reply:
    """One request from the call to its last chunk."""

    request: GenerationRequest
    adapter: AdapterInfo | None
    chunks: asyncio.Queue[Chunk] = field(default_factory=asyncio.Queue)
    attempts: int = 0
    begun: bool = False  # some text was handed out
    ended: bool = False
    deadline: asyncio.TimerHandle | None = None

    @property
    def label(self) -> str:
        return "base" if self.adapter is None else self.adapter.label


class InferenceClient:
    """Requests in, streams of chunks out. Use it from one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        settings = config.inference
        self.adapters = AdapterRegistry(config.adapters_dir)
        self._queue = FairQueue(settings.queue_size, settings.queue_per_user)
        self._replies: dict[str, _Reply] = {}
        self._running: set[str] = set()
        self._stats: EngineStats | None = None
        self._tokenizer: Tokenizer | None = None
        self._ready: Ready | None = None
        self._supervisor = Supervisor(
            config,
            on_ready=self._on_ready,
            on_piece=self._on_piece,
            on_stats=self._on_stats,
            on_death=self._on_death,
            on_unusable=self._on_unusable,
            is_busy=lambda: bool(self._running),
        )

    async def start(self, on_progress: Callable[[str], None] | None = None) -> None:
        """Start the worker and wait for the model.

        Raises `InferenceError` in one sentence if the model cannot be used.
        """
        await self._supervisor.start(on_progress or log.info)

    async def close(self) -> None:
        """End the worker; replies under way end as cancelled."""
        for reply in list(self._replies.values()):
            self._end(reply, Chunk(finish_reason="cancelled"))
        await self._supervisor.close()

    @property
    def info(self) -> ModelInfo:
        """What is known of the loaded model; only after `start`."""
        if self._ready is None:
            raise InferenceError("The model is not loaded yet.")
        return self._ready.info

    @property
    def worker_pid(self) -> int | None:
        """The process that holds the model."""
        return self._supervisor.pid

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has for the loaded model, without the format around it."""
        if self._tokenizer is None:
            raise InferenceError("The model is not loaded yet.")
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return len(self._tokenizer.encode(clean, add_special_tokens=False).ids)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the reply to `request`; the last chunk alone has a `finish_reason`.

        Closing the stream cancels the request. Raises `RequestRefused` if it cannot be queued and
        `AdapterError` if its adapter cannot be used, both before the first chunk.
        """
        reply = self._submit(request)
        try:
            while True:
                chunk = await reply.chunks.get()
                yield chunk
                if chunk.finish_reason is not None:
                    return
        finally:
            if not reply.ended:
                self.cancel(request.id)

    def cancel(self, request_id: str) -> None:
        """End a request early; its stream closes with `cancelled`. Unknown ids are ignored."""
        reply = self._replies.get(request_id)
        if reply is None:
            return
        if request_id in self._running:
            # The row is freed by the worker; nobody needs to wait for its answer.
            self._supervisor.send(Cancel(request_id))
        self._end(reply, Chunk(finish_reason="cancelled", adapter=reply.label))

    def place(self, request_id: str) -> int:
        """0 while the reply is being written, else its place in the queue, from 1."""
        return self._queue.place(request_id)

    def status(self) -> Status:
        """A snapshot for `/status` and the logs."""
        return Status(
            state=self._supervisor.state,
            model=self._ready.info.summary if self._ready else self._config.model.base,
            waiting=len(self._queue),
            running=len(self._running),
            restarts=self._supervisor.restarts,
            problem=self._supervisor.problem,
            engine=self._stats,
        )

    def _submit(self, request: GenerationRequest) -> _Reply:
        if self._supervisor.state == "closed":
            raise RequestRefused("The bot is shutting down; ask again when it is back.")
        if self._supervisor.state == "failed":
            raise RequestRefused(f"There is no model to answer: {self._supervisor.problem}")
        if request.id in self._replies:
            raise RequestRefused(f"The request {request.id} is being answered already.")
        fingerprint = self._ready.info.fingerprint if self._ready else None
        # Pinned here: a promotion while the request waits or runs does not change its version.
        adapter = self.adapters.resolve(request.adapter, fingerprint)
        if request.sampling.seed is None:
            sampling = request.sampling.replace(seed=secrets.randbits(63))
            request = request.model_copy(update={"sampling": sampling})
        self._queue.push(request)
        reply = self._replies[request.id] = _Reply(request, adapter)
        loop = asyncio.get_running_loop()
        limit = self._config.inference.deadline_seconds
        reply.deadline = loop.call_later(limit, self._out_of_time, request.id)
        self._fill_worker()
        return reply

    def _fill_worker(self) -> None:
        """Hand over requests while the worker has room."""
        if self._supervisor.state != "ready" or self._ready is None:
            return
        while len(self._running) < self._ready.capacity and (request := self._queue.pop()):
            reply = self._replies[request.id]
            reply.attempts += 1
            self._running.add(request.id)
            self._supervisor.send(Submit(request, reply.adapter))

    def _on_ready(self, ready: Ready) -> None:
        self._ready = ready
        self._tokenizer = Tokenizer.from_str(ready.info.tokenizer_json)
        log.info("%s", ready.info.summary)
        self._fill_worker()

    def _on_piece(self, piece: Piece) -> None:
        reply = self._replies.get(piece.request_id)
        if piece.finish_reason is not None:
            self._running.discard(piece.request_id)
        if reply is not None:
            self._take(reply, piece)
        if piece.finish_reason is not None:
            self._fill_worker()

    def _on_stats(self, stats: EngineStats) -> None:
        self._stats = stats

    def _take(self, reply: _Reply, piece: Piece) -> None:
        if piece.tokens and reply.deadline is not None:
            reply.deadline.cancel()
            reply.deadline = None
        if piece.finish_reason is None:
            if piece.text:
                reply.begun = True
                reply.chunks.put_nowait(Chunk(text=piece.text))
            return
        if piece.usage is not None:
            cost = piece.usage.prompt_tokens - piece.usage.cached_tokens
            self._queue.charge(reply.request, cost + piece.usage.completion_tokens)
        last = Chunk(
            text=piece.text,
            finish_reason=piece.finish_reason,
            error=piece.error,
            adapter=reply.label,
            usage=piece.usage,
        )
        self._end(reply, last)

    def _on_death(self) -> None:
        """What the dead worker held goes back to the front of the queue, once."""
        held = [self._replies[key] for key in self._running if key in self._replies]
        self._running.clear()
        for reply in held:
            if reply.attempts >= _ATTEMPTS:
                message = (
                    "The model's process ended twice while it was writing this reply; please"
                    " ask differently."
                )
                self._end(reply, Chunk(finish_reason="error", error=message))
                continue
            if reply.begun:
                reply.begun = False
                reply.chunks.put_nowait(Chunk(restart=True))
            self._queue.push(reply.request, again=True)

    def _on_unusable(self, problem: str) -> None:
        """A restarted worker cannot load the model: nobody is kept waiting for it."""
        for reply in list(self._replies.values()):
            self._end(reply, Chunk(finish_reason="error", error=problem))

    def _out_of_time(self, request_id: str) -> None:
        if reply := self._replies.get(request_id):
            reply.deadline = None
            if request_id in self._running:
                self._supervisor.send(Cancel(request_id))
            limit = self._config.inference.deadline_seconds
            message = f"The reply did not begin within {limit:.0f} seconds; please ask again."
            self._end(reply, Chunk(finish_reason="error", error=message, adapter=reply.label))

    def _end(self, reply: _Reply, last: Chunk) -> None:
        """Close a stream: the only place where a terminal chunk is handed out."""
        if reply.ended:
            return
        reply.ended = True
        if reply.deadline is not None:
            reply.deadline.cancel()
        self._queue.remove(reply.request.id)
        self._replies.pop(reply.request.id, None)
        reply.chunks.put_nowait(last)
