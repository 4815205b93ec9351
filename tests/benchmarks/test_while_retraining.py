"""What a retraining costs those who wait for a first word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks import while_retraining
from benchmarks.while_retraining import _Asking, compared, main, quantile
from inference.types import Chunk, GenerationRequest


def test_quantiles_are_waits_that_were_measured() -> None:
    waits = [float(wait) for wait in range(20, 0, -1)]
    assert quantile(waits, 0.5) == 10
    assert quantile(waits, 0.95) == 19
    assert quantile([7.0], 0.95) == 7


def test_a_ratio_below_one_is_what_the_stage_costs() -> None:
    waits = {"idle": [0.1] * 20, "train": [0.1] * 18 + [0.4, 0.4], "evaluate": []}
    median, late = compared(waits)
    assert median.ratio == pytest.approx(1.0)
    assert late.ratio == pytest.approx(0.25)
    assert "p95" in late.name
    assert "train" in late.name
    assert late.detail == "100 ms alone, 400 ms beside it; 20 and 20 replies"


def test_a_folder_without_nights_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["while_retraining", "--nights", str(tmp_path / "none")])
    assert main() == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"There are no nights in {tmp_path / 'none'}; run python -m ")
    assert printed.err.count("\n") == 1


async def test_nothing_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked before would be found in the prefix cache, and answered sooner."""
    asked: list[GenerationRequest] = []

    class Client:
        async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
            asked.append(request)
            yield Chunk(text="Aye.")

    monkeypatch.setattr(while_retraining, "_PAUSE_SECONDS", 1e-6)
    asking = _Asking(Client(), "company")  # type: ignore[arg-type]
    for _ in range(150):
        assert await asking.once() >= 0
    assert len({request.messages for request in asked}) == 150
    assert {len(request.messages) for request in asked} == {2, 4, 6, 8, 10, 12, 14, 16}
