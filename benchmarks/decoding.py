"""Decode steps in this process: the engine, and transformers' `generate` beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.machine import now
from inference.adapters import AdapterInfo
from inference.engine.batch_engine import BatchEngine
from inference.engine.interface import EngineRequest
from inference.types import Sampling

_SETTLING_STEPS = 6  # caches are cold in the first steps after rows came
_ATTEMPTS = 5
_NEVER = 1000  # tokens; a reply that outlasts every measurement


@dataclass(slots=True)
class Timings:
    """Repeated measurements of one thing, in seconds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleave(repeats: int, measures: Sequence[Callable[[], float]]) -> list[Timings]:
    """Each of `measures` in turn, `repeats` times, so that a disturbance meets all of them."""
    timings = [Timings() for _ in measures]
    for _ in range(repeats):
        for one, measure in zip(timings, measures, strict=True):
            one.seconds.append(measure())
    return timings


def with_threads(threads: int, measure: Callable[[], float]) -> Callable[[], float]:
    def run() -> float:
        torch.set_num_threads(threads)
        return measure()

    return run


def fill(
    engine: BatchEngine, prompts: Sequence[Sequence[int]], adapters: Sequence[AdapterInfo]
) -> list[str]:
    """Let a row decode for each prompt, its adapters in turn; the ids of the requests."""
    ids = [str(index) for index in range(len(prompts))]
    for index, prompt in enumerate(prompts):
        adapter = adapters[index % len(adapters)] if adapters else None
        sampling = Sampling(temperature=0, max_new_tokens=_NEVER)
        engine.insert(EngineRequest(ids[index], tuple(prompt), sampling, index, adapter))
    started: set[str] = set()
    while len(started) < len(ids):
        started.update(event.id for event in engine.next())
    for _ in range(_SETTLING_STEPS):
        engine.next()
    return ids


def engine_step(
    engine: BatchEngine,
    prompts: Sequence[Sequence[int]],
    adapters: Sequence[AdapterInfo],
    steps: int,
    device: torch.device,
) -> float:
    """Median seconds of a decode step over `prompts`; the engine must know no end tokens."""
    ids = fill(engine, prompts, adapters)
    seconds = []
    for _ in range(steps):
        started = now(device)
        engine.next()
        seconds.append(now(device) - started)
    for id in ids:
        engine.remove(id)
    return statistics.median(seconds)


@torch.inference_mode()
def transformers_step(
    model: Any,
    prompts: Sequence[Sequence[int]],
    adapters: Sequence[AdapterInfo],
    steps: int,
    device: torch.device,
) -> float:
    """Seconds of a decode step of `generate`: a long reply less one of a single token."""

    def reply(tokens: int) -> float:
        started = now(device)
        generate(model, prompts, adapters, tokens)
        return now(device) - started

    reply(1)  # what happens only once is not part of a step
    for _ in range(_ATTEMPTS):
        short = reply(1)
        seconds = (reply(steps + 1) - short) / steps
        if seconds > 0:
            return seconds
    raise RuntimeError("The machine is too busy to measure: longer replies took no longer.")


def generate(
    model: Any, prompts: Sequence[Sequence[int]], adapters: Sequence[AdapterInfo], tokens: int
) -> Any:
    """A greedy batch of exactly `tokens` new tokens, padded on the left."""
    longest = max(map(len, prompts))
    device = model.device
    pad = 0
    ids = [[pad] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    options: dict[str, Any] = {}
    if adapters:
        options["adapter_names"] = [adapters[i % len(adapters)].name for i in range(len(prompts))]
    return model.generate(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=torch.tensor(mask, device=device),
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=pad,
        **options,
    )


@dataclass(frozen=True, slots=True)
class Switch:
    """A channel that goes over to an adapter that is not in memory, while others decode."""

    extra_wait: float  # seconds to its first token, beyond those with the adapter in memory
    longest_step: float
    median_step: float


def switch_adapter(
    engine: BatchEngine,
    prompts: Sequence[Sequence[int]],
    adapters: Sequence[AdapterInfo],
    newcomers: Sequence[AdapterInfo],
) -> Switch:
    """All rows but one decode with `adapters`; the last one takes each of `newcomers` twice.

    Only the first of the two has to read the adapter; both read the prompt.
    """
    *running, prompt = prompts
    ids = fill(engine, running, adapters)
    usual: list[float] = []
    _steps_until(engine, lambda _: len(usual) >= 10, usual)
    steps: list[float] = []
    extra: list[float] = []
    for number, adapter in enumerate(newcomers):
        waits: list[float] = []
        for attempt in ("cold", "warm"):
            id = f"{attempt}{number}"
            started = time.perf_counter()
            sampling = Sampling(temperature=0, max_new_tokens=_NEVER)
            # one token differs, so that the warm attempt finds no prefix either
            tokens = (*prompt[:1], 100 + len(waits), *prompt[2:])
            engine.insert(EngineRequest(id, tokens, sampling, 0, adapter))
            _steps_until(engine, _spoken(id), steps)
            waits.append(time.perf_counter() - started)
            _steps_until(engine, _after(_SETTLING_STEPS), steps)
            engine.remove(id)
        extra.append(waits[0] - waits[1])
    for id in ids:
        engine.remove(id)
    return Switch(max(statistics.median(extra), 0.0), max(steps), statistics.median(usual))


def _spoken(id: str) -> Callable[[set[str]], bool]:
    return lambda seen: id in seen


def _after(steps: int) -> Callable[[set[str]], bool]:
    left = iter(range(steps))
    return lambda _: next(left, None) is None


def _steps_until(
    engine: BatchEngine, done: Callable[[set[str]], bool], seconds: list[float]
) -> None:
    """Step, noting each step's seconds, until `done` says so of the ids that have spoken."""
    seen: set[str] = set()
    while not done(seen):
        started = time.perf_counter()
        seen.update(event.id for event in engine.next())
        seconds.append(time.perf_counter() - started)
