"""A backend that is a server elsewhere: vLLM, or anything else that speaks the OpenAI protocol."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from config import Config
from inference.backend import BackendState, Cancel, Listener, Piece, Ready, Submit
from inference.remote.adapters import RemoteAdapters
from inference.remote.errors import ABSENT_STATUSES, RemoteError
from inference.remote.figures import RemoteFigures
from inference.remote.model import LocalCopy, choose_model, describe, find_local_copy
from inference.remote.request import RemoteDialect, estimated_tokens
from inference.remote.server import RemoteServer, broken_off
from inference.remote.stream import RemoteReply
from inference.types import InferenceError

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 8.0
_LONGEST_POLL_SECONDS = 30.0
_USAGE_SECONDS = 5.0  # how long a finished reply waits for the server to say what it cost


@dataclass(slots=True, eq=False)
class _Held:
    """One reply that the server owes."""

    submit: Submit
    reply: RemoteReply
    started: float = field(default_factory=time.monotonic)
    # Until the first token this is the deadline; afterwards it moves on with every sign of life.
    limit: asyncio.Timeout | None = None

    @property
    def id(self) -> str:
        return self.submit.request.id


class RemoteBackend:
    """The replies of one server. Each is a task that holds one streaming HTTP request."""

    def __init__(self, config: Config, url: str, listener: Listener) -> None:
        self._config = config
        self._settings = config.remote
        self._listener = listener
        self._server = RemoteServer(url, config.remote)
        self._adapters = RemoteAdapters(self._server, config.remote)
        self._figures = RemoteFigures()
        self._local = LocalCopy()
        self._dialect: RemoteDialect | None = None
        self._model = ""
        self._held: dict[str, tuple[_Held, asyncio.Task[Piece]]] = {}
        self._check: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.state: BackendState = "loading"
        self.problem = ""
        self.restarts = 0

    async def start(self, on_progress: Callable[[str], None]) -> None:
        """Connect, and return once it is known that the model is there.

        Raises `InferenceError` in one sentence if the server cannot be reached, refuses the key or
        has no such model.
        """
        on_progress(f"Connecting to {self._server.name}.")
        try:
            self._server.open()
            self._local = await asyncio.to_thread(find_local_copy, self._config)
            ready = await self._first_look()
        except InferenceError as error:
            self.problem = str(error)
            await self.close()
            raise
        self._become_ready(ready)

    async def close(self) -> None:
        """Disconnect; replies under way end as cancelled."""
        self.state = "closed"
        writing = [task for _, task in self._held.values()]
        for task in (*writing, *self._tasks):
            task.cancel()
        await asyncio.gather(*writing, *self._tasks, return_exceptions=True)
        await self._adapters.close()
        await self._server.close()

    def send(self, message: Submit | Cancel) -> None:
        """Ask the server for a reply, or disconnect from one."""
        if isinstance(message, Cancel):
            if found := self._held.get(message.request_id):
                found[1].cancel()
            return
        held = _Held(message, self._new_reply(message))
        task = asyncio.get_running_loop().create_task(self._write(held))
        self._held[held.id] = held, task
        task.add_done_callback(lambda done: self._end(held, done))

    # -- one reply -------------------------------------------------------------------------------

    def _end(self, held: _Held, task: asyncio.Task[Piece]) -> None:
        """The only place where a last piece is reported, when the task of a reply is over."""
        if self._held.get(held.id, (None,))[0] is not held:
            task.cancelled() or task.exception()  # it died with the server and was reported so
            return
        del self._held[held.id]
        if task.cancelled():
            piece = Piece(held.id, finish_reason="cancelled", usage=held.reply.usage())
        elif error := task.exception():
            log.error("request %s failed", held.id, exc_info=error)
            piece = _failed(held, "The reply could not be asked for; the log says why.")
        else:
            piece = task.result()
        self._figures.ended(held.reply.usage())
        self._listener.on_piece(self, piece)
        self._tell_figures()

    async def _write(self, held: _Held) -> Piece:
        """Ask until an attempt succeeds or there is no point in another; the last piece."""
        if self.state != "ready":
            return _failed(held, self.problem or f"{self._server.name} is not there at the moment.")
        allowed = self._config.inference.deadline_seconds
        try:
            async with asyncio.timeout(allowed) as held.limit:
                return await self._attempts(held)
        except TimeoutError:
            if held.reply.finish is not None:
                return _finished(held)
            self._check_soon()
            if not held.reply.begun:
                return _failed(held, f"The reply did not begin within {allowed:.0f} seconds.")
            silence = self._settings.idle_timeout_seconds
            return _failed(held, f"The server said nothing for {silence:.0f} seconds in mid-reply.")
        except InferenceError as error:
            if isinstance(error, RemoteError):
                await self._follow_up(held, error)
            return _failed(held, str(error))

    async def _attempts(self, held: _Held) -> Piece:
        """Repeat what may succeed later, as long as nothing of the reply has come."""
        loop = asyncio.get_running_loop()
        for attempt in itertools.count():
            held.reply = self._new_reply(held.submit, held.started)
            try:
                return await self._attempt(held)
            except RemoteError as error:
                if held.reply.begun or not error.again or attempt >= self._settings.retries:
                    raise
                delay = _backoff(attempt, _LONGEST_RETRY_SECONDS)
                delay = delay if error.wait is None else error.wait + delay
                if held.limit and loop.time() + delay >= (held.limit.when() or 0):
                    raise
                log.info("Asking again in %.1f seconds: %s", delay, error)
            await asyncio.sleep(delay)
        raise AssertionError("the loop above has no end")

    async def _attempt(self, held: _Held) -> Piece:
        """One attempt, and what was learnt from refusals that another wording cures."""
        assert self._dialect is not None
        reloaded = False
        while True:
            async with self._adapters.model(held.submit, self._model) as model:
                body = self._dialect.body(held.submit.request, model)
                try:
                    return await self._stream(held, body)
                except RemoteError as error:
                    if held.reply.begun:
                        raise
                    # A server that was started anew has forgotten what was loaded before.
                    gone = error.status == 404 and self._adapters.forget(model) and not reloaded
                    reloaded = reloaded or gone
                    if not gone and not self._dialect.learn(body, error):
                        raise

    async def _stream(self, held: _Held, body: dict[str, object]) -> Piece:
        """Pass the stream on; leaving it early, for whatever reason, disconnects."""
        reply = held.reply
        try:
            async with self._server.chat(body) as events:
                async for event in events:
                    self._take(held, event)
                    if reply.stopped:
                        break  # by a text that the server was not told of
        except RemoteError:
            if reply.finish is None:
                raise  # else only the figures after the reply are missing
        if reply.finish is None:
            raise broken_off()
        return _finished(held)

    def _take(self, held: _Held, event: str) -> None:
        text, tokens = held.reply.take(event)
        if held.reply.begun and held.limit is not None:
            patience = self._settings.idle_timeout_seconds
            if held.reply.finish is not None:
                patience = min(patience, _USAGE_SECONDS)
            held.limit.reschedule(asyncio.get_running_loop().time() + patience)
        if text or tokens:
            self._figures.count(tokens)
            self._listener.on_piece(self, Piece(held.id, text, tokens))
            self._tell_figures()

    def _new_reply(self, submit: Submit, started: float | None = None) -> RemoteReply:
        request = submit.request
        begun = time.monotonic() if started is None else started
        return RemoteReply(request.sampling.stop, begun, estimated_tokens(request))

    def _tell_figures(self) -> None:
        figures = self._figures.due(len(self._held), self._adapters.resident, self._adapters.loads)
        if figures is not None:
            self._listener.on_stats(self, figures)

    # -- whether the server is there -------------------------------------------------------------

    async def _follow_up(self, held: _Held, error: RemoteError) -> None:
        """A reply failed for good: find out whether the server went with it."""
        if not error.unreachable and error.status not in ABSENT_STATUSES:
            return
        if held.reply.begun:
            self._check_soon()  # this reply is lost either way
        elif not await self._answers():
            self._lose(error)

    def _check_soon(self) -> None:
        if self.state == "ready" and (self._check is None or self._check.done()):
            self._check = self._keep(self._check_now())

    async def _check_now(self) -> None:
        if not await self._answers():
            self._lose(broken_off())

    async def _answers(self) -> bool:
        try:
            await self._server.models()
        except RemoteError as error:
            return not (error.unreachable or error.status in ABSENT_STATUSES)
        return True

    def _lose(self, error: RemoteError) -> None:
        """The server is gone; what it held is reported lost, and its return awaited."""
        if self.state != "ready":
            return
        self.state = "restarting"
        self.restarts += 1
        log.warning("%s Waiting for its return.", error)
        held, self._held = self._held, {}
        for _, task in held.values():
            if task is not asyncio.current_task():
                task.cancel()
        self._adapters.forget_all()
        self._listener.on_death(self, suspicious=False)
        self._keep(self._await_return())

    async def _await_return(self) -> None:
        for attempt in itertools.count():
            await asyncio.sleep(_backoff(attempt, _LONGEST_POLL_SECONDS))
            try:
                ready = await self._look()
            except RemoteError as error:
                if error.again:
                    continue
                self.state = "failed"
                if str(error) != self.problem:
                    self.problem = str(error)
                    self._listener.on_unusable(self, self.problem)
                continue
            self._become_ready(ready)
            return

    async def _first_look(self) -> Ready:
        """`_look`, with a little patience for a server that is just being started."""
        for attempt in itertools.count():
            try:
                return await self._look()
            except RemoteError as error:
                if not error.again or attempt >= self._settings.retries:
                    raise
            await asyncio.sleep(_backoff(attempt, _LONGEST_RETRY_SECONDS))
        raise AssertionError("the loop above has no end")

    async def _look(self) -> Ready:
        """Ask the server for its models. Raises `RemoteError` if ours cannot be used there."""
        name = self._server.name
        served = choose_model(name, self._settings.model, await self._server.models())
        self._model = served.name
        self._dialect = RemoteDialect(
            name, explicit=served.is_vllm, special_texts=self._local.special_texts()
        )
        info = describe(self._config, name, served, self._local)
        return Ready(info, self._settings.capacity)

    def _become_ready(self, ready: Ready) -> None:
        self.state, self.problem = "ready", ""
        self._listener.on_ready(self, ready)

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _finished(held: _Held) -> Piece:
    return Piece(held.id, finish_reason=held.reply.finish, usage=held.reply.usage())


def _failed(held: _Held, sentence: str) -> Piece:
    return Piece(held.id, finish_reason="error", error=sentence, usage=held.reply.usage())


def _backoff(attempt: int, longest: float) -> float:
    """Seconds to wait: full jitter, so that many who failed together do not return together."""
    return random.uniform(0, min(_FIRST_BACKOFF_SECONDS * 2.0**attempt, longest))
