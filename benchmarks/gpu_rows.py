"""The rows of a GPU, on random weights; `--device cpu --shape tiny` runs the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.decoding import engine_step, interleave, transformers_step
from benchmarks.figures import Figure, not_measured
from benchmarks.machine import read_bandwidth
from benchmarks.shapes import random_llama, weight_bytes
from benchmarks.workload import RANK, publish_adapters
from inference.adapters import AdapterRegistry
from inference.engine.batch_engine import BatchEngine, EngineSettings

_CHANNELS = 32
_ADAPTERS = 16
_PROMPT = 256
_BARS = {
    "bandwidth floor / one channel's step": (0.7, 0.9),
    "tokens/s, 32 channels / one": (15.0, 25.0),
    "speed with 16 adapters / with none, 32 channels": (1 / 1.1, 1 / 1.1),
    "one channel against transformers generate": (1.0, 1.0),
}
FORMATS = ("bf16", "4bit")


def unmeasured(reason: str) -> list[Figure]:
    """The rows, for a machine without GPU."""
    return [
        not_measured(_name(shape, form, row), reason, *bars)
        for shape in ("7b", "13b")
        for form in FORMATS
        for row, bars in _BARS.items()
    ]


def measure_shape(
    shape: str, form: str, device: torch.device, folder: Path, *, steps: int, repeats: int
) -> list[Figure]:
    """The rows of one shape in one format."""
    model = random_llama(shape, device, four_bit=form == "4bit")
    registry = AdapterRegistry(folder / f"adapters-{shape}-{form}")
    adapters = publish_adapters(registry, model, shape, _ADAPTERS)
    size = int(model.config.vocab_size)
    random = torch.Generator().manual_seed(0)
    prompts: list[list[int]] = torch.randint(
        3, size, (_CHANNELS, _PROMPT), generator=random
    ).tolist()
    settings = EngineSettings(
        rows=_CHANNELS, context=1024, prefix_bytes=0, adapter_columns=_ADAPTERS * RANK
    )
    engine = BatchEngine(model, set(), settings)
    try:
        peer, one, many, mixed = (
            timings.median
            for timings in interleave(
                repeats,
                [
                    lambda: transformers_step(model, prompts[:1], [], steps, device),
                    lambda: engine_step(engine, prompts[:1], [], steps, device),
                    lambda: engine_step(engine, prompts, [], steps, device),
                    lambda: engine_step(engine, prompts, adapters, steps, device),
                ],
            )
        )
    finally:
        engine.close()
    floor = weight_bytes(model) / read_bandwidth(device)
    found: dict[str, tuple[float, str]] = {
        "bandwidth floor / one channel's step": (
            floor / one, f"{_ms(floor)} against {_ms(one)}",
        ),
        "tokens/s, 32 channels / one": (
            _CHANNELS * one / many, f"{_CHANNELS / many:.0f} against {1 / one:.0f}",
        ),
        "speed with 16 adapters / with none, 32 channels": (
            many / mixed, f"{_ms(mixed)} against {_ms(many)}, {mixed / many - 1:+.0%}",
        ),
        "one channel against transformers generate": (
            peer / one, f"{_ms(one)} against {_ms(peer)}",
        ),
    }  # fmt: skip
    return [
        Figure(_name(shape, form, row), ratio, *_BARS[row], detail)
        for row, (ratio, detail) in found.items()
    ]


def _name(shape: str, form: str, row: str) -> str:
    return f"{shape} {form}: {row}"


def _ms(seconds: Any) -> str:
    return f"{seconds * 1e3:.2f} ms"
