"""An OpenAI-compatible server that misbehaves on demand, for the tests of the remote engine."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[["Visit"], Awaitable[web.StreamResponse]]

MODEL = "llama"


def sse(*events: object, done: bool = True, end: str = "\n\n") -> bytes:
    """`events` as a stream; one that is a text is sent as it is."""
    data = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {text}{end}" for text in [*data, *(["[DONE]"] if done else [])]).encode()


def delta(content: str | None = None, **more: object) -> dict[str, Any]:
    return choice({"content": content, **more})


def choice(what: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": what, "finish_reason": finish_reason}],
    }


def finish(reason: str = "stop") -> dict[str, Any]:
    return choice({}, reason)


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    count = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": {**count, "prompt_tokens_details": details}}


def reply(*words: str, reason: str = "stop") -> bytes:
    """A reply as vLLM streams it: the role, the words, the end, what it cost."""
    return sse(
        choice({"role": "assistant", "content": ""}),
        *(delta(word) for word in words),
        finish(reason),
        usage(10, len(words), cached=4),
    )


@dataclass(slots=True)
class Visit:
    """One request for a reply."""

    request: web.Request
    body: dict[str, Any]
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the client hung up

    async def open(self, content_type: str = "text/event-stream") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(self.request)
        return response

    def cut(self) -> None:
        """Drop the connection as a killed process does."""
        assert self.request.transport is not None
        self.request.transport.abort()


def stream(*chunks: bytes, content_type: str = "text/event-stream") -> Answer:
    """Send `chunks`, each on its own, and close in good order."""

    async def answer(visit: Visit) -> web.StreamResponse:
        response = await visit.open(content_type)
        for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        return response

    return answer


def broken(*chunks: bytes) -> Answer:
    """Send `chunks`, then drop the connection."""

    async def answer(visit: Visit) -> web.StreamResponse:
        response = await visit.open()
        for chunk in chunks:
            await response.write(chunk)
        visit.cut()
        return response

    return answer


def hanging(*chunks: bytes) -> Answer:
    """Send `chunks`, then nothing, until the client hangs up."""

    async def answer(visit: Visit) -> web.StreamResponse:
        response = await visit.open()
        for chunk in chunks:
            await response.write(chunk)
        await asyncio.Event().wait()
        return response

    return answer


def refuse(status: int, body: object = None, **headers: str) -> Answer:
    async def answer(visit: Visit) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=named)
        return web.json_response(body, status=status, headers=named)

    return answer


def error(message: str, status: int = 400, **more: object) -> Answer:
    return refuse(status, {"error": {"message": message, "code": status, **more}})


class MisbehavingServer:
    """Answers requests for replies as `play` says.

    `visits` are the requests so far, `loads` and `unloads` what vLLM would have been asked.
    """

    def __init__(self) -> None:
        self._script: list[Answer] = [stream(reply("Hello"))]
        self._visit = asyncio.Event()
        self.visits: list[Visit] = []
        self.loads: list[dict[str, Any]] = []
        self.unloads: list[str] = []
        self.load_answer: tuple[int, object] = (200, "Success")
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.key = ""
        self.models: object = [{"id": MODEL, "max_model_len": 2048, "owned_by": "vllm"}]
        self.models_status = 200
        self.model_calls = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self) -> None:
        """Listen; after `stop`, on the same port again."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Drop every connection and stop listening."""
        if self._runner is not None:
            for visit in self.visits:
                if visit.request.transport is not None:
                    visit.cut()
            await self._runner.cleanup()
            self._runner = None

    def play(self, *answers: Answer) -> None:
        """Answer the next requests so; the last answer is repeated."""
        self._script = list(answers)

    async def visited(self, times: int = 1) -> None:
        """Wait until so many requests have come in all."""
        async with asyncio.timeout(20):
            while len(self.visits) < times:
                self._visit.clear()
                await self._visit.wait()

    def _key_problem(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "Unauthorized"}}, status=401)
        return None

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.model_calls += 1
        if problem := self._key_problem(request):
            return problem
        if isinstance(self.models, str):
            return web.Response(text=self.models, content_type="text/html")
        return web.json_response({"data": self.models}, status=self.models_status)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if problem := self._key_problem(request):
            return problem
        visit = Visit(request, await request.json())
        self.visits.append(visit)
        self._visit.set()
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        try:
            return await answer(visit)
        except (asyncio.CancelledError, ConnectionError):
            visit.gone.set()
            raise

    async def _load(self, request: web.Request) -> web.StreamResponse:
        self.loads.append(await request.json())
        await self.load_gate.wait()
        status, body = self.load_answer
        return web.json_response(body, status=status)

    async def _unload(self, request: web.Request) -> web.StreamResponse:
        self.unloads.append((await request.json())["lora_name"])
        return web.json_response("Success")


def in_pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` cut at each of `cuts`."""
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places) if a < b]
