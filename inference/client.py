"""The bot's side of inference: one call that gives a stream of text, whatever happens behind it.

`InferenceClient` keeps the queue and hands requests to the backends as they have room: one worker
process per device, or servers elsewhere. A request lives here until its last chunk, so nothing is
lost with a backend: what a dead one held is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from config import Config
from inference.adapters import (
    BASE,
    DEFAULT,
    SHIPPED,
    AdapterInfo,
    AdapterRegistry,
    check_prompt_format,
)
from inference.backend import Backend, BackendState, Cancel, Piece, Ready, Submit
from inference.backend_choice import choose_backends
from inference.deadlines import Deadlines
from inference.engine.interface import EngineStats
from inference.quarantine import Quarantine
from inference.queue import FairQueue
from inference.resting import Rest
from inference.types import (
    Chunk,
    GenerationRequest,
    InferenceError,
    ModelInfo,
    RequestRefused,
)

log = logging.getLogger(__name__)

_BEST_FIRST = ("ready", "restarting", "loading", "resting", "failed", "closed")
_ATTEMPTS = 2  # a request that was with a dying backend is tried once more
_REMEMBERED_CHANNELS = 4096
_BYTES_PER_TOKEN = 3  # where no tokenizer is known; few texts have more tokens than this


@dataclass(frozen=True, slots=True)
class Status:
    """How inference is doing right now."""

    state: BackendState  # of the best backend
    model: str
    backends: int
    waiting: int
    running: int
    restarts: int
    problem: str  # why there is no model, if there is none
    engines: tuple[EngineStats, ...]  # what each backend last said of itself

    @property
    def tokens_per_second(self) -> float:
        """Of all replies together, over the engines' last steps."""
        return sum(engine.tokens_per_second for engine in self.engines)

    @property
    def prefix_hit_share(self) -> float:
        """Share of all prompt tokens so far that were found in the cache."""
        asked = sum(engine.prompt_tokens for engine in self.engines)
        return sum(engine.prefix_hit_tokens for engine in self.engines) / asked if asked else 0.0


@dataclass(slots=True)
class _Reply:
    """One request from the call to its last chunk."""

    request: GenerationRequest
    adapter: AdapterInfo | None
    chunks: asyncio.Queue[Chunk] = field(default_factory=asyncio.Queue)
    attempts: int = 0
    suspect: bool = False  # was with a worker when that ended
    begun: bool = False  # some text was handed out
    ended: bool = False

    @property
    def label(self) -> str:
        if self.adapter is not None:
            return self.adapter.label
        return BASE if self.request.adapter == DEFAULT else self.request.adapter


@dataclass(slots=True)
class _Desk:
    """One backend and what it is busy with."""

    backend: Backend
    ready: Ready | None = None
    running: dict[str, bool] = field(default_factory=dict)  # request id → is a suspect
    stats: EngineStats | None = None

    @property
    def free(self) -> int:
        if self.ready is None or self.backend.state != "ready":
            return 0
        return self.ready.capacity - len(self.running)


class InferenceClient:
    """Requests in, streams of chunks out. Use it from one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        settings = config.inference
        remote = settings.engine == "openai"
        elsewhere = config.remote.adapters if remote else ()
        # The servers of others do not have the adapter that comes with the project.
        shipped = None if remote else SHIPPED
        self.adapters = AdapterRegistry(config.adapters_dir, elsewhere, shipped=shipped)
        self._queue = FairQueue(settings.queue_size, settings.queue_per_user)
        self._replies: dict[str, _Reply] = {}
        self._desks = [_Desk(backend) for backend in choose_backends(config, self)]
        self._homes: OrderedDict[str, int] = OrderedDict()  # channel → desk with its prefixes
        self._quarantine = Quarantine(time.monotonic)
        self._deadlines = Deadlines(settings.deadline_seconds, self._out_of_time)
        self._rest = Rest([desk.backend for desk in self._desks], self._deadlines)
        self._tokenizer: Tokenizer | None = None
        self._info: ModelInfo | None = None

    async def start(self, on_progress: Callable[[str], None] | None = None) -> None:
        """Start the backends and wait for the model.

        Raises `InferenceError` in one sentence if the model cannot be used.
        """
        starting = [desk.backend.start(on_progress or log.info) for desk in self._desks]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the backends; replies under way end as cancelled."""
        for reply in list(self._replies.values()):
            self._end(reply, Chunk(finish_reason="cancelled"))
        await asyncio.gather(*(desk.backend.close() for desk in self._desks))

    @property
    def shares_devices(self) -> bool:
        """Whether there are workers on this machine that `rest` could send away."""
        return self._rest.possible

    async def rest(self) -> None:
        """Give the devices of this machine back once the replies under way have ended.

        Other requests wait, and no deadline comes, until `wake`. Servers elsewhere go on.
        """
        await self._rest.begin(lambda: not any(desk.running for desk in self._desks))

    def wake(self) -> None:
        """Load the model again; what waited is answered then."""
        self._rest.end()
        self._hand_out()

    @property
    def info(self) -> ModelInfo:
        """What is known of the loaded model; only after `start`."""
        if self._info is None:
            raise InferenceError("The model is not loaded yet.")
        return self._info

    @property
    def worker_pids(self) -> list[int]:
        """The processes on this machine that hold the model."""
        return [worker.pid for worker in self._rest.workers if worker.pid is not None]

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has for the model, without the format around it.

        An estimate, rather too high, if the model is elsewhere and its tokenizer is not known.
        """
        clean = text.encode("utf-8", "replace")
        if self._tokenizer is None:
            return -(-len(clean) // _BYTES_PER_TOKEN)
        return len(self._tokenizer.encode(clean.decode("utf-8"), add_special_tokens=False).ids)

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
        if reply := self._replies.get(request_id):
            self._drop(request_id)
            self._end(reply, Chunk(finish_reason="cancelled", adapter=reply.label))

    def place(self, request_id: str) -> int:
        """0 while the reply is being written, else its place in the queue, from 1."""
        return self._queue.place(request_id)

    def status(self) -> Status:
        """A snapshot for `/status` and the logs."""
        backends = [desk.backend for desk in self._desks]
        return Status(
            state=min((backend.state for backend in backends), key=_BEST_FIRST.index),
            model=self._info.summary if self._info else self._config.model.base,
            backends=len(backends),
            waiting=len(self._queue),
            running=sum(len(desk.running) for desk in self._desks),
            restarts=sum(backend.restarts for backend in backends),
            problem=next((b.problem for b in backends if b.problem), ""),
            engines=tuple(desk.stats for desk in self._desks if desk.stats),
        )

    # -- taking requests -------------------------------------------------------------------------

    def _submit(self, request: GenerationRequest) -> _Reply:
        state = self.status().state
        if state == "closed":
            raise RequestRefused("The bot is shutting down; ask again when it is back.")
        if state == "failed":
            raise RequestRefused(f"There is no model to answer: {self.status().problem}")
        if request.id in self._replies:
            raise RequestRefused(f"The request {request.id} is being answered already.")
        self._quarantine.check(request)
        # Pinned here: a promotion while the request waits or runs does not change its version.
        fingerprint = self._info.fingerprint if self._info else None
        adapter = self.adapters.resolve(request.adapter, fingerprint)
        if request.prompt_format == "auto":
            check_prompt_format(adapter, self._info.prompt_format if self._info else "")
        elif self._config.inference.engine == "openai":
            raise RequestRefused("The model's server formats prompts itself; leave that to it.")
        if request.sampling.seed is None:
            sampling = request.sampling.replace(seed=secrets.randbits(63))
            request = request.model_copy(update={"sampling": sampling})
        self._queue.push(request)
        reply = self._replies[request.id] = _Reply(request, adapter)
        self._deadlines.begin(request.id)
        self._hand_out()
        return reply

    def _hand_out(self) -> None:
        """Hand over requests, each in its turn, while some backend has room for it."""
        while not self._rest.wanted and (request := self._queue.first()) is not None:
            reply = self._replies[request.id]
            desk = self._choose_desk(reply)
            if desk is None:
                return
            self._queue.remove(request.id)
            desk.running[request.id] = reply.suspect
            reply.attempts += 1
            self._homes[request.channel] = self._desks.index(desk)
            self._homes.move_to_end(request.channel)
            if len(self._homes) > _REMEMBERED_CHANNELS:
                self._homes.popitem(last=False)
            desk.backend.send(Submit(request, reply.adapter))

    def _choose_desk(self, reply: _Reply) -> _Desk | None:
        """The backend with the channel's prefix, else the least loaded; None while all are busy.

        A request that was with a dying worker runs alone: if it was the cause, it takes nobody
        with it again.
        """
        free = [
            desk
            for desk in self._desks
            if desk.free > 0
            and not (desk.running and (reply.suspect or any(desk.running.values())))
        ]
        home = self._homes.get(reply.request.channel)
        if home is not None and self._desks[home] in free:
            return self._desks[home]
        return max(free, key=lambda desk: desk.free, default=None)

    # -- what backends report (inference.backend.Listener) ---------------------------------------

    def on_ready(self, backend: Backend, ready: Ready) -> None:
        desk = self._desk(backend)
        desk.ready = ready
        desk.running.clear()
        if self._info is None:
            self._info = ready.info
            if ready.info.tokenizer_json:
                self._tokenizer = Tokenizer.from_str(ready.info.tokenizer_json)
        log.info("%s", ready.info.summary)
        self._rest.over()
        self._hand_out()

    def on_piece(self, backend: Backend, piece: Piece) -> None:
        if piece.finish_reason is not None:
            self._desk(backend).running.pop(piece.request_id, None)
        if reply := self._replies.get(piece.request_id):
            self._take(reply, piece)
        if piece.finish_reason is not None:
            self._hand_out()

    def on_stats(self, backend: Backend, stats: EngineStats) -> None:
        self._desk(backend).stats = stats

    def on_death(self, backend: Backend, *, suspicious: bool) -> None:
        """What the dead backend held goes back to the front of the queue, once."""
        desk = self._desk(backend)
        held = [self._replies[key] for key in desk.running if key in self._replies]
        desk.running.clear()
        for reply in held:
            if suspicious:
                reply.suspect = True
                self._quarantine.note_death(reply.request)
            if reply.attempts >= _ATTEMPTS:
                message = (
                    "The model's process ended twice while it was writing this reply; please"
                    " ask differently."
                    if suspicious
                    else "The model's server was lost twice during this reply; please ask again."
                )
                self._end(reply, Chunk(finish_reason="error", error=message))
                continue
            if reply.begun:
                reply.begun = False
                reply.chunks.put_nowait(Chunk(restart=True))
            self._queue.push(reply.request, again=True)
        self._hand_out()

    def on_unusable(self, backend: Backend, problem: str) -> None:
        """Nobody is kept waiting for a model that does not come back."""
        if any(desk.backend.state == "ready" for desk in self._desks):
            return
        for reply in list(self._replies.values()):
            self._end(reply, Chunk(finish_reason="error", error=problem))

    def is_busy(self, backend: Backend) -> bool:
        return bool(self._desk(backend).running)

    def _desk(self, backend: Backend) -> _Desk:
        return next(desk for desk in self._desks if desk.backend is backend)

    def _take(self, reply: _Reply, piece: Piece) -> None:
        if piece.tokens:
            self._deadlines.end(reply.request.id)
        if piece.finish_reason is None:
            if piece.text or piece.logprobs:
                reply.begun = True
                reply.chunks.put_nowait(Chunk(text=piece.text, logprobs=piece.logprobs))
            return
        if piece.usage is not None:
            cost = piece.usage.prompt_tokens - piece.usage.cached_tokens
            self._queue.charge(reply.request, cost + piece.usage.completion_tokens)
        last = Chunk(
            text=piece.text,
            logprobs=piece.logprobs,
            finish_reason=piece.finish_reason,
            error=piece.error,
            adapter=reply.label,
            usage=piece.usage,
        )
        self._end(reply, last)

    # -- ends ------------------------------------------------------------------------------------

    def _out_of_time(self, request_id: str) -> None:
        if reply := self._replies.get(request_id):
            self._drop(request_id)
            limit = self._config.inference.deadline_seconds
            message = f"The reply did not begin within {limit:.0f} seconds; please ask again."
            self._end(reply, Chunk(finish_reason="error", error=message, adapter=reply.label))

    def _drop(self, request_id: str) -> None:
        """Tell the backend that writes `request_id`, if one does; its row is freed there."""
        for desk in self._desks:
            if request_id in desk.running:
                desk.backend.send(Cancel(request_id))

    def _end(self, reply: _Reply, last: Chunk) -> None:
        """Close a stream: the only place where a terminal chunk is handed out."""
        if reply.ended:
            return
        reply.ended = True
        self._deadlines.end(reply.request.id)
        self._queue.remove(reply.request.id)
        self._replies.pop(reply.request.id, None)
        reply.chunks.put_nowait(last)
