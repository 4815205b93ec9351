"""Stands where a worker process stands: writes at once what a model would take seconds for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from inference.backend import BackendState, Cancel, Listener, Piece, Ready, Submit
from inference.types import GenerationRequest, ModelInfo, Usage

TOKEN = re.compile(r"\bw(\d+)x(\d+)\b")  # what a person says: the channel's number, then a serial
LEAK = "LEAK"

_STEPS = 5
_STEP_SECONDS = 0.04
_FILLER = " and the tide went out over the flats" * 3


class FastWorker:
    """A backend that repeats the serial of the last question and adds some words, in steps.

    It counts prompts in which channels mix. While it is held it takes requests, as many as it has
    room for, and writes nothing.
    """

    state: BackendState = "loading"
    problem = ""
    restarts = 0

    def __init__(self, listener: Listener, tokenizer_json: str, *, capacity: int) -> None:
        self._listener = listener
        self._tokenizer_json = tokenizer_json
        self._capacity = capacity
        self._going = asyncio.Event()
        self._going.set()
        self._writing: dict[str, asyncio.Task[None]] = {}
        self.written = 0
        self.leaks = 0

    async def start(self, on_progress: Callable[[str], None]) -> None:
        self.state = "ready"
        info = ModelInfo(
            name="fast",
            fingerprint="",
            device="cpu",
            dtype="float32",
            context_length=2048,
            prompt_format="chatml",
            message_overhead=5,
            prompt_overhead=5,
            tokenizer_json=self._tokenizer_json,
            summary="a worker that has no model",
        )
        self._listener.on_ready(self, Ready(info, self._capacity))

    async def close(self) -> None:
        self.state = "closed"
        tasks = list(self._writing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def send(self, message: Submit | Cancel) -> None:
        if isinstance(message, Submit):
            key = message.request.id
            self._writing[key] = asyncio.create_task(self._write(message.request))
        elif message.request_id in self._writing:
            self._writing.pop(message.request_id).cancel()
            self._listener.on_piece(self, Piece(message.request_id, finish_reason="cancelled"))

    async def _write(self, request: GenerationRequest) -> None:
        await self._going.wait()
        text = self._reply(request)
        step = -(-len(text) // _STEPS)
        for start in range(0, len(text), step):
            await asyncio.sleep(_STEP_SECONDS)
            self._listener.on_piece(self, Piece(request.id, text[start : start + step], tokens=8))
        usage = Usage(
            prompt_tokens=500, completion_tokens=40, first_token_seconds=0.04, total_seconds=0.2
        )
        del self._writing[request.id]
        self.written += 1
        self._listener.on_piece(self, Piece(request.id, finish_reason="stop", usage=usage))

    def _reply(self, request: GenerationRequest) -> str:
        said = [found for message in request.messages for found in TOKEN.findall(message.content)]
        if request.background:
            return "They counted boats at the harbour, and the tide went out."
        if not said:
            return "Nobody said a word."
        if len({channel for channel, _ in said}) > 1:
            self.leaks += 1
            return LEAK
        channel, serial = said[-1]
        return f"I heard w{channel}x{serial}{_FILLER}."
