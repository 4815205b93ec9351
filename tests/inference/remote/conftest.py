"""A backend on the misbehaving server, and somebody who listens to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from config import Config, InferenceSettings, PathSettings, RemoteSettings
from inference.adapters import AdapterCard, AdapterInfo, weights_hash
from inference.backend import Backend, Cancel, Piece, Ready, Submit
from inference.engine.interface import EngineStats
from inference.remote.backend import RemoteBackend
from inference.types import GenerationRequest, Message, Sampling
from tests.inference.remote.server import MisbehavingServer

PATIENCE_SECONDS = 20.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vllm: on a real vLLM, the Python of which TROUPE_VLLM is")


class Ear:
    """Keeps all that a backend reports."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[Piece]] = {}
        self.ready: list[Ready] = []
        self.stats: list[EngineStats] = []
        self.deaths = 0
        self.unusable: list[str] = []
        self._news = asyncio.Event()

    def on_ready(self, backend: Backend, ready: Ready) -> None:
        assert backend.state == "ready"
        self.ready.append(ready)
        self._news.set()

    def on_piece(self, backend: Backend, piece: Piece) -> None:
        pieces = self.pieces.setdefault(piece.request_id, [])
        assert not pieces or pieces[-1].finish_reason is None, "something came after the end"
        pieces.append(piece)
        self._news.set()

    def on_stats(self, backend: Backend, stats: EngineStats) -> None:
        self.stats.append(stats)

    def on_death(self, backend: Backend, *, suspicious: bool) -> None:
        assert backend.state == "restarting"
        self.deaths += 1
        self._news.set()

    def on_unusable(self, backend: Backend, problem: str) -> None:
        assert backend.state == "failed"
        self.unusable.append(problem)
        self._news.set()

    def is_busy(self, backend: Backend) -> bool:
        return any(pieces[-1].finish_reason is None for pieces in self.pieces.values())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def text(self, request_id: str) -> str:
        return "".join(piece.text for piece in self.pieces.get(request_id, []))

    async def end(self, request_id: str) -> Piece:
        """The last piece of a reply."""
        await self.until(
            lambda: (
                request_id in self.pieces and self.pieces[request_id][-1].finish_reason is not None
            )
        )
        return self.pieces[request_id][-1]


class Caller:
    """One backend, and short ways of asking it."""

    def __init__(self, backend: RemoteBackend, ear: Ear) -> None:
        self.backend = backend
        self.ear = ear

    def ask(self, adapter: AdapterInfo | None = None, said: str = "Hi", **sampling: object) -> str:
        """Send a request; its id."""
        request = GenerationRequest(
            messages=(Message(role="user", content=said),),
            adapter=adapter.name if adapter else "default",
            sampling=Sampling.model_validate({"seed": 1, **sampling}),
        )
        self.backend.send(Submit(request, adapter))
        return request.id

    def cancel(self, request_id: str) -> None:
        self.backend.send(Cancel(request_id))

    async def reply(
        self, adapter: AdapterInfo | None = None, said: str = "Hi", **sampling: object
    ) -> tuple[str, Piece]:
        """Text and last piece of a reply."""
        request_id = self.ask(adapter, said, **sampling)
        last = await self.ear.end(request_id)
        return self.ear.text(request_id), last


@pytest.fixture
async def server() -> AsyncIterator[MisbehavingServer]:
    server = MisbehavingServer()
    await server.start()
    yield server
    await server.stop()


Connect = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def connect(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connect]:
    """`await connect(deadline_seconds=…, capacity=…, …)`: a started backend with these settings."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("inference.remote.backend._FIRST_BACKOFF_SECONDS", 0.002)
    monkeypatch.setattr("inference.remote.backend._LONGEST_POLL_SECONDS", 0.02)
    callers: list[Caller] = []

    async def start(*, deadline_seconds: float = 60.0, **remote: object) -> Caller:
        config = Config(
            paths=PathSettings(data=tmp_path),
            inference=InferenceSettings(engine="openai", deadline_seconds=deadline_seconds),
            remote=RemoteSettings.model_validate({"urls": [server.url], **remote}),
        )
        ear = Ear()
        backend = RemoteBackend(config, server.url, ear)
        callers.append(Caller(backend, ear))
        await backend.start(lambda text: None)
        return callers[-1]

    yield start
    for caller in callers:
        await caller.backend.close()


@pytest.fixture
async def caller(connect: Connect) -> Caller:
    return await connect()


def adapter(
    folder: Path, name: str = "pirate", version: int = 1, kind: str = "LORA"
) -> AdapterInfo:
    """A published adapter without a use but to be asked for; `kind` is PEFT's name for it."""
    home = folder / "adapters" / name / str(version)
    home.mkdir(parents=True)
    (home / "adapter_model.safetensors").write_bytes(f"{name} {version}".encode())
    (home / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    card = AdapterCard(
        base_model="m",
        base_fingerprint="f" * 32,
        prompt_format="chatml",
        weights_hash=weights_hash(home),
    )
    return AdapterInfo(name, version, home, promoted=True, card=card)
