"""Keeps one worker process alive: starts it, listens to it, notices when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from config import Config
from inference import worker
from inference.backend import BackendState, Cancel, Listener, Piece, Ready, Submit
from inference.engine.interface import EngineStats
from inference.types import InferenceError
from inference.worker import Loading, Unusable

log = logging.getLogger(__name__)

_BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_CHECK_SECONDS = 1.0


class Supervisor:
    """The backend of one device: a worker process, started again whenever it ends."""

    def __init__(self, config: Config, listener: Listener, device: str) -> None:
        """`device` stands in for `model.device`: each of several workers has its own."""
        model = config.model.model_copy(update={"device": device})
        self._config = config.model_copy(update={"model": model})
        self._listener = listener
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._on_progress: Callable[[str], None] = log.info
        self._first_load: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarting: asyncio.Task[None] | None = None
        self._last_heard = 0.0
        self._deaths_in_a_row = 0
        self.state: BackendState = "loading"
        self.restarts = 0
        self.problem = ""

    @property
    def pid(self) -> int | None:
        """The worker's process id, if there is a worker."""
        return self._process.pid if self._process else None

    async def start(self, on_progress: Callable[[str], None]) -> None:
        """Start the worker and wait until the model is loaded.

        Raises `InferenceError` in one sentence if it cannot be.
        """
        self._on_progress = on_progress
        self._first_load = asyncio.get_running_loop().create_future()
        self._spawn()
        self._keep(self._watch())
        try:
            await self._first_load
        except InferenceError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the worker for good."""
        self.state = "closed"
        for task in self._tasks:
            task.cancel()
        await self._end_worker()

    async def rest(self) -> None:
        """End the worker until `wake`; on return the device's memory is free. After `start`."""
        if self.state == "closed":
            return
        self.state, self.problem = "resting", ""
        if self._restarting is not None:
            self._restarting.cancel()
        await self._end_worker()

    def wake(self) -> None:
        """Start a worker again after a rest; `Listener.on_ready` says when the model is loaded."""
        if self.state == "resting":
            self._spawn()
            self.state = "restarting"

    async def _end_worker(self) -> None:
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None and process.is_alive():
            process.kill()  # it holds nothing that is worth a farewell
            await asyncio.to_thread(process.join)
        if pipe is not None:
            pipe.close()

    def send(self, message: Submit | Cancel) -> None:
        """Pass `message` on; if the worker is dying, its death is noticed elsewhere."""
        self._last_heard = asyncio.get_running_loop().time()
        if self._pipe is not None:
            with suppress(OSError):
                self._pipe.send(message)

    def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        self.state = "restarting" if self.restarts else "loading"
        self._last_heard = loop.time()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=worker.main,
            args=(theirs, self._config, log.getEffectiveLevel()),
            daemon=True,
            name="troupe-worker",
        )
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        threading.Thread(
            target=self._listen, args=(loop, process, ours), daemon=True, name="worker-pipe"
        ).start()

    def _listen(
        self, loop: asyncio.AbstractEventLoop, process: SpawnProcess, pipe: Connection
    ) -> None:
        """Runs in a thread: hands every message to the loop, then the news of the death."""
        with suppress(RuntimeError):  # the loop was closed while the worker still talked
            while True:
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    break
                loop.call_soon_threadsafe(self._hear, process, message)
            process.join()
            loop.call_soon_threadsafe(self._died, process)

    def _hear(self, process: SpawnProcess, message: object) -> None:
        if process is not self._process or self.state == "closed":
            return  # the last words of a worker that was replaced
        self._last_heard = asyncio.get_running_loop().time()
        match message:
            case Piece():
                self._deaths_in_a_row = 0
                self._listener.on_piece(self, message)
            case EngineStats():
                self._listener.on_stats(self, message)
            case Loading():
                self._on_progress(message.text)
            case Ready():
                self.state, self.problem = "ready", ""
                if self._first_load is not None and not self._first_load.done():
                    self._first_load.set_result(None)
                self._listener.on_ready(self, message)
            case Unusable():
                self._unusable(message.error)

    def _unusable(self, problem: str) -> None:
        self.problem = problem
        if self._first_load is not None and not self._first_load.done():
            self._first_load.set_exception(InferenceError(problem))
        else:
            log.error("The model cannot be loaded again: %s", problem)
            self._listener.on_unusable(self, problem)

    def _died(self, process: SpawnProcess) -> None:
        if process is not self._process or self.state == "closed":
            return
        if self._first_load is not None and not self._first_load.done():
            self._unusable(
                f"The model's process ended with code {process.exitcode} while loading; is there"
                " enough memory for model.base?"
            )
            return
        self.restarts += 1
        delay = _BACKOFF_SECONDS[min(self._deaths_in_a_row, len(_BACKOFF_SECONDS) - 1)]
        self._deaths_in_a_row += 1
        self.state = "failed" if self.problem else "restarting"
        log.warning("The worker ended with code %s; a new one follows.", process.exitcode)
        self._listener.on_death(self, suspicious=True)
        self._restarting = self._keep(self._restart(delay))

    async def _restart(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._spawn()

    async def _watch(self) -> None:
        """Replace a worker that owes an answer and says nothing."""
        settings = self._config.inference
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            loading = self.state in ("loading", "restarting")
            if not (loading or self._listener.is_busy(self)):
                continue
            limit = settings.start_timeout_seconds if loading else settings.hang_timeout_seconds
            silence = asyncio.get_running_loop().time() - self._last_heard
            if silence > limit and self._process is not None and self._process.is_alive():
                log.error("The worker has said nothing for %.0f seconds; replacing it.", silence)
                self._process.kill()

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
