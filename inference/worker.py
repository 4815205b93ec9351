"""The worker: a process of its own that owns the model, so that generation never blocks the bot.

It is started with `spawn`, takes `Submit` and `Cancel` over a pipe and answers with `Loading`,
`Ready` or `Unusable`, then with `Piece`s and `EngineStats`. It ends when the pipe closes: it never
outlives the bot.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tqdm import tqdm

from config import Config
from inference.adapters import AdapterRegistry
from inference.backend import Cancel, Piece, Ready, Submit
from inference.gpu_lease import hold_for_serving
from inference.log_lines import OneLineFormatter
from inference.memory_use import device_bytes, resident_bytes
from inference.types import FinishReason, InferenceError, TokenLogprob, Usage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from inference.engine.batch_engine import BatchEngine
    from inference.engine.interface import TokenEvent
    from inference.prompt_format import PromptFormat
    from inference.text_stream import TextStream

log = logging.getLogger(__name__)

_STATS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Loading:
    text: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """The model cannot be loaded; `error` is a sentence for the user."""

    error: str


Inbox = queue.SimpleQueue[Submit | Cancel]


def main(pipe: Connection, config: Config, log_level: int) -> None:
    """The body of the process."""
    # Ctrl-C reaches the whole process group; the bot decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lines = logging.StreamHandler()
    lines.setFormatter(OneLineFormatter(config.log.format))
    logging.basicConfig(level=log_level, handlers=[lines])
    # It warns of casts, and of kernels to install, that its user can do nothing about.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # tqdm's own lock is a semaphore of the operating system, which a killed process leaves behind.
    tqdm.set_lock(threading.RLock())
    try:
        hold_for_serving(config.paths.data)  # until this process ends
    except OSError as error:
        log.warning("A training cannot see that this worker is here: %s", error)
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, inbox), daemon=True, name="pipe").start()
    try:
        worker = _load(pipe, inbox, config)
    except InferenceError as error:
        pipe.send(Unusable(str(error)))
        return
    except Exception as error:
        log.exception("The model could not be loaded.")
        pipe.send(Unusable(f"The model could not be loaded: {type(error).__name__}: {error}."))
        return
    worker.run()


def _load(pipe: Connection, inbox: Inbox, config: Config) -> Worker:
    """The worker with its model; says `Ready` when it is."""
    import torch

    from inference.engine.batch_engine import BatchEngine, EngineSettings
    from inference.model_loading import load_model

    torch.set_num_threads(config.inference.threads or max((os.cpu_count() or 2) - 1, 1))
    loaded = load_model(
        config.model,
        config.models_dir,
        adapters=AdapterRegistry(config.adapters_dir),
        on_progress=lambda text: pipe.send(Loading(text)),
    )
    tokenizer: Tokenizer = loaded.tokenizer.backend_tokenizer
    wanted = config.inference
    on_gpu = not loaded.info.device.startswith("cpu")
    engine = BatchEngine(
        loaded.model,
        loaded.end_ids,
        EngineSettings(
            rows=wanted.rows or (32 if on_gpu else 8),
            context=min(config.prompt.context_tokens, loaded.info.context_length),
            weight_format=None if wanted.weight_format == "auto" else wanted.weight_format,
            prefix_bytes=wanted.prefix_cache_mb << 20,
            adapter_bytes=wanted.adapter_cache_mb << 20,
        ),
        [tokenizer.decode([token]) for token in range(len(loaded.tokenizer))],
    )
    pipe.send(Ready(loaded.info, engine.capacity))
    # The engine holds the weights in its own form; the loaded model is not kept beside it.
    return Worker(tokenizer, loaded.prompt_format, engine, pipe, inbox)


def _read(pipe: Connection, inbox: Inbox) -> None:
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)  # the bot is gone, and with it everybody who waits for a reply


class Worker:
    """Runs the engine's steps, turning messages into tokens and tokens into text."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_format: PromptFormat,
        engine: BatchEngine,
        pipe: Connection,
        inbox: Inbox,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt_format = prompt_format
        self._formats = {"auto": prompt_format}
        self._engine = engine
        self._pipe = pipe
        self._inbox = inbox
        self._replies: dict[str, _Reply] = {}
        self._told_stats = 0.0

    def run(self) -> None:
        while True:
            self._take_messages()
            for event in self._engine.next():
                self._pass_on(event)
            self._tell_stats()

    def _tell_stats(self) -> None:
        now = time.monotonic()
        if now - self._told_stats >= _STATS_SECONDS or not self._engine.active:
            self._told_stats = now
            held = {"resident_bytes": resident_bytes(), "device_bytes": device_bytes()}
            self._pipe.send(replace(self._engine.stats(), **held))

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
            continues = request.continues
            prompt_format = self._format(request.prompt_format)
            prompt = prompt_format.encode(request.messages, continues=continues)
            stop = (*request.sampling.stop, *prompt_format.stop)
            self._replies[request.id] = _Reply(
                TextStream(self._decode, stop, after=prompt if continues else ()),
                started,
                prompt_tokens=len(prompt),
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
            log.exception("Request %s could not be started.", request.id)
            self._fail(request.id, "The model could not start this reply; the log says why.")

    def _format(self, name: str) -> PromptFormat:
        """The model's own format, or the one that a request asked for instead."""
        if name not in self._formats:
            from inference.prompt_format import PromptFormat

            self._formats[name] = PromptFormat(self._prompt_format.tokenizer, name)
        return self._formats[name]

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
                self._pipe.send(Piece(event.id, text, 1, _logprobs(event)))
            return
        text += reply.stream.finish()
        del self._replies[event.id]
        self._pipe.send(
            Piece(
                event.id,
                text,
                tokens=int(event.token is not None),
                logprobs=_logprobs(event),
                finish_reason=finish,
                error=event.error,
                usage=reply.usage(),
            )
        )

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text


def _logprobs(event: TokenEvent) -> tuple[TokenLogprob, ...]:
    if event.token is None or event.logprob is None:
        return ()
    return (TokenLogprob(token=event.token, logprob=event.logprob, top=event.top_logprobs),)


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
