"""The worker: a process of its own that owns the model, so that generation never blocks the bot.

It is started with `spawn`, takes `Submit` and `Cancel` over a pipe and answers with `Loading`,
`Ready` or `Unusable`, then with `Piece`s. It ends when the pipe closes: it never outlives the bot.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from config import ModelSettings
from inference.adapters import AdapterInfo
from inference.types import (
    FinishReason,
    GenerationRequest,
    InferenceError,
    ModelInfo,
    Usage,
)

if TYPE_CHECKING:
    from inference.engine.interface import Engine, TokenEvent
    from inference.model_loading import LoadedModel
    from inference.text_stream import TextStream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submit:
    request: GenerationRequest  # its sampling has a seed
    adapter: AdapterInfo | None


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class Loading:
    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    info: ModelInfo
    capacity: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """The model cannot be loaded; `error` is a sentence for the user."""

    error: str


@dataclass(frozen=True, slots=True)
class Piece:
    request_id: str
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str = ""
    usage: Usage | None = None


def main(pipe: Connection, settings: ModelSettings, models_dir: Path, log_level: int) -> None:
    """The body of the process."""
    # Ctrl-C reaches the whole process group; the bot decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=log_level, format="%(levelname)s %(name)s: %(message)s")
    # It warns of kernels that only a 4-bit model on a CPU would gain from.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    inbox: queue.SimpleQueue[Submit | Cancel] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, inbox), daemon=True, name="pipe").start()
    try:
        loaded = _load(pipe, settings, models_dir)
    except InferenceError as error:
        pipe.send(Unusable(str(error)))
        return
    from inference.plain_engine import PlainEngine

    engine = PlainEngine(loaded)
    pipe.send(Ready(loaded.info, engine.capacity))
    Worker(loaded, engine, pipe, inbox).run()


def _load(pipe: Connection, settings: ModelSettings, models_dir: Path) -> LoadedModel:
    from inference.model_loading import load_model

    return load_model(settings, models_dir, on_progress=lambda text: pipe.send(Loading(text)))


def _read(pipe: Connection, inbox: queue.SimpleQueue[Submit | Cancel]) -> None:
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)  # the bot is gone, and with it everybody who waits for a reply


class Worker:
    """Runs the engine's steps, turning messages into tokens and tokens into text."""

    def __init__(
        self,
        loaded: LoadedModel,
        engine: Engine,
        pipe: Connection,
        inbox: queue.SimpleQueue[Submit | Cancel],
    ) -> None:
        self._loaded = loaded
        self._engine = engine
        self._pipe = pipe
        self._inbox = inbox
        self._replies: dict[str, _Reply] = {}

    def run(self) -> None:
        while True:
            self._take_messages()
            for event in self._engine.next():
                self._pass_on(event)

    def _take_messages(self) -> None:
        """Handle what has come in; wait for something while no reply is under way."""
        while not self._inbox.empty() or not self._engine.active:
            message = self._inbox.get()
            if isinstance(message, Cancel):
                self._cancel(message.request_id)
            else:
                self._submit(message)

    def _submit(self, message: Submit) -> None:
        from inference.engine.interface import EngineRequest
        from inference.text_stream import TextStream

        request = message.request
        started = time.monotonic()
        try:
            prompt = self._loaded.prompt_format.encode(request.messages)
            stop = (*request.sampling.stop, *self._loaded.prompt_format.stop)
            self._replies[request.id] = _Reply(
                TextStream(self._decode, stop), started, prompt_tokens=len(prompt)
            )
            self._engine.insert(
                EngineRequest(
                    request.id,
                    tuple(prompt),
                    request.sampling,
                    request.sampling.seed or 0,
                    message.adapter,
                )
            )
        except InferenceError as error:
            self._fail(request.id, str(error))
        except Exception:  # one request must not end the worker that serves all others
            log.exception("request %s could not be started", request.id)
            self._fail(request.id, "The model could not start this reply; the log says why.")

    def _cancel(self, request_id: str) -> None:
        self._engine.remove(request_id)
        if reply := self._replies.pop(request_id, None):
            self._pipe.send(Piece(request_id, finish_reason="cancelled", usage=reply.usage()))

    def _fail(self, request_id: str, error: str) -> None:
        self._replies.pop(request_id, None)
        self._pipe.send(Piece(request_id, finish_reason="error", error=error))

    def _pass_on(self, event: TokenEvent) -> None:
        reply = self._replies[event.id]
        reply.cached_tokens = max(reply.cached_tokens, event.cached_tokens)
        text = ""
        finish: FinishReason | None = event.finish
        if event.token is not None:
            reply.count_token()
            text = reply.stream.push(event.token)
        if reply.stream.stopped:
            self._engine.remove(event.id)
            finish = "stop"
        if finish is None:
            if text or event.token is not None:
                self._pipe.send(Piece(event.id, text, tokens=1))
            return
        text += reply.stream.finish()
        del self._replies[event.id]
        self._pipe.send(Piece(event.id, text, 1, finish, event.error, reply.usage()))

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._loaded.tokenizer.backend_tokenizer.decode(
            tokens, skip_special_tokens=True
        )
        return text


@dataclass
class _Reply:
    stream: TextStream
    started: float
    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token: float | None = None

    def count_token(self) -> None:
        self.completion_tokens += 1
        if self.first_token is None:
            self.first_token = time.monotonic()

    def usage(self) -> Usage:
        now = time.monotonic()
        return Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            first_token_seconds=(self.first_token or now) - self.started,
            total_seconds=now - self.started,
        )
