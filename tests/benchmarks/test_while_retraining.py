"""What a retraining costs those who wait for a first word."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.while_retraining import compared, main, quantile


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
