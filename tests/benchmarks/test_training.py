"""The benchmark of training runs both sides, each in its own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.training import OURS, OURS_FLOAT32, PEER, PEER_BFLOAT16, compared
from inference.model_loading import LoadedModel
from tests.conftest import save_tiny_llama


def _run(tokens: float, seconds: float, cpu_seconds: float, peak_mb: float) -> dict[str, float]:
    return {"tokens": tokens, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb}


def test_ratios_are_of_the_medians_and_larger_where_ours_is_better() -> None:
    runs = {
        OURS: [_run(100, 1, 1, 500), _run(100, 2, 2, 500), _run(100, 50, 4, 500)],
        PEER: [_run(100, 6, 8, 1000)],
        OURS_FLOAT32: [_run(100, 4, 4, 800)],
        PEER_BFLOAT16: [_run(100, 3, 3, 600)],
    }

    speed, same_format, float32, memory, _ = compared(runs)

    assert speed.ratio == pytest.approx(3.0)
    assert "4.00 ×" in speed.detail
    assert same_format.ratio == pytest.approx(1.5)
    assert float32.ratio == pytest.approx(1.5)
    assert memory.ratio == pytest.approx(2.0)


def test_both_sides_train_the_same_rows(
    embedded: LoadedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_tiny_llama(tmp_path / "tiny", embedded)
    config = tmp_path / "config.toml"
    config.write_text(f"[model]\nbase = '{tmp_path / 'tiny'}'\n")
    arguments = ["--config", str(config), "--rows", "4", "--batch", "2", "--micro", "2"]
    found = {}
    for side in (OURS, PEER):
        assert training.main([*arguments, "--side", side]) == 0
        found[side] = json.loads(capfd.readouterr().out)

    assert found[OURS]["tokens"] == found[PEER]["tokens"] > 0
    for run in found.values():
        assert run["seconds"] > 0
        assert run["peak_mb"] > 0
