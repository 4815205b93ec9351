"""What the worker asks of an engine, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from inference.adapters import AdapterInfo
from inference.types import Sampling


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One reply to generate. `prompt` holds token ids; `adapter` None is the base model."""

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    adapter: AdapterInfo | None = None


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One step of one reply: a token, its end, or both.

    `finish` is "stop" when the model ended its turn (the end-of-turn token is not given as
    `token`), "length" when `max_new_tokens` or the context is used up, "error" with a sentence.
    """

    id: str
    token: int | None = None
    finish: Literal["stop", "length", "error"] | None = None
    error: str = ""
    cached_tokens: int = 0
    logprob: float | None = None  # of the model itself, before penalties; when asked for
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Engine(Protocol):
    """Rows that advance together, one token a step."""

    @property
    def capacity(self) -> int:
        """How many rows can be active at once."""

    @property
    def active(self) -> int:
        """How many are."""

    def insert(self, request: EngineRequest) -> None:
        """Take a row for `request`.

        Raises `InferenceError` if the request can never run: prompt too long, unusable adapter.
        """

    def remove(self, request_id: str) -> None:
        """Free the row of `request_id` at once; unknown ids are ignored."""

    def next(self) -> list[TokenEvent]:
        """Advance every row by one bounded step. A fault of one row ends that row alone."""
