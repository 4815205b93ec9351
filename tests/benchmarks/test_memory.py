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
