"""The benchmark of the memory builds real prompts, of which recall is a part."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import memory
from inference.types import ModelInfo


class Words:
    info: ModelInfo = memory._INFO

    def count_tokens(self, text: str) -> int:
        return len(text.split())


async def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Counting", Words)
    measured = await memory.measure(tmp_path, 1000, turns=4, seed=0)
    assert (measured.messages, measured.turns) == (1000, 4)
    assert 0 < measured.median <= measured.p99
    assert measured.recalled > 0.5
    assert "1,000 messages: median" in measured.line()


def test_growth_is_held_against_that_of_the_logarithm() -> None:
    def measured(messages: int, busy: float) -> memory.Measured:
        return memory.Measured(messages, 9, busy, busy, busy, busy, 1.0, 1.0, 1.0)

    middle = measured(100_000, 9.0)
    assert memory.growth([measured(10_000, 0.010), middle, measured(1_000_000, 0.015)]) == (
        pytest.approx(1.0)
    )
    assert memory.growth([measured(10_000, 0.010), middle, measured(1_000_000, 0.030)]) > 1
