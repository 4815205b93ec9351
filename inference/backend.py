"""What the client asks of a place where replies are written, and what it hears from it.

A backend is a worker process on this machine (`supervisor.py`) or a server elsewhere
(`remote/backend.py`). The queue, the retries and the streams are the client's; a backend takes what
it is given and reports what comes of it, on the event loop that started it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from inference.adapters import AdapterInfo
from inference.engine.interface import EngineStats
from inference.types import FinishReason, GenerationRequest, ModelInfo, TokenLogprob, Usage

BackendState = Literal["loading", "ready", "restarting", "resting", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Submit:
    """Write this reply. `request.sampling.seed` is set; `adapter` None is the base model."""

    request: GenerationRequest
    adapter: AdapterInfo | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this reply any more; unknown ids are ignored."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Replies can be written, `capacity` of them at once."""

    info: ModelInfo
    capacity: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of a reply since the last piece; exactly one piece has a `finish_reason`."""

    request_id: str
    text: str = ""
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""
    usage: Usage | None = None


class Listener(Protocol):
    """Whom a backend reports to; it names itself in every call."""

    def on_ready(self, backend: Backend, ready: Ready) -> None:
        """It can take replies; also after each restart."""

    def on_piece(self, backend: Backend, piece: Piece) -> None:
        """A reply went on or ended."""

    def on_stats(self, backend: Backend, stats: EngineStats) -> None:
        """Its figures, at most about once a second."""

    def on_death(self, backend: Backend, *, suspicious: bool) -> None:
        """It lost every reply that it held and will try to come back.

        `suspicious`: one of those replies may have been the cause.
        """

    def on_unusable(self, backend: Backend, problem: str) -> None:
        """It came back without a usable model; `problem` is a sentence."""

    def is_busy(self, backend: Backend) -> bool:
        """Whether it owes a reply to anybody."""


class Backend(Protocol):
    """One place where replies are written."""

    @property
    def state(self) -> BackendState: ...

    @property
    def problem(self) -> str:
        """Why there is no model, if there is none."""

    @property
    def restarts(self) -> int: ...

    async def start(self, on_progress: Callable[[str], None]) -> None:
        """Return once it is ready. Raises `InferenceError` in one sentence if it cannot be."""

    async def close(self) -> None: ...

    def send(self, message: Submit | Cancel) -> None:
        """Take a message; never blocks. Every `Submit` ends in one last `Piece` or a death."""
