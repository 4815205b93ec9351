"""What the worker asks of the engine, and what it gets back; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Figures since the start, and of now; tokens per second over the last few seconds."""

    active: int
    waiting_for_adapter: int
    steps: int
    generated_tokens: int
    tokens_per_second: float
    prompt_tokens: int
    prefix_hit_tokens: int
    prefix_bytes: int
    adapters_in_batch_memory: int
    adapter_loads: int
    resident_bytes: int = 0  # of the worker, in the machine's memory; 0: not known
    device_bytes: int = 0  # on its CUDA devices
