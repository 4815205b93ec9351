"""The table and the plot of the experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.identity.table import markdown, plot


def figure(value: float | None) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value / 2, value * 2)
    return {"value": value, "low": low, "high": high, "n": 10}


def results() -> dict[str, Any]:
    names = ("IIR", "FRR", "XTR4", "DupTurn", "Open3", "SR4", "distinct-2", "mean_length")
    part: dict[str, Any] = {name: figure(0.25) for name in names}
    part |= {"Recall": figure(None), "ends_by_itself": figure(1.0)}
    part["iir_by_turn"] = {"1": figure(0.1), "2": figure(0.2), "3": figure(None)}
    rows = [
        {"label": label, "adapter": "x", "figures": {"all": part, "persona_chat": part}}
        for label in ("the seed's bot", "recommended recipe")
    ]
    training = {"x": {"seconds": 61.2, "figures": {"training": {"method": "sft"}}}}
    return {"rows": rows, "perplexity": {"x": figure(12.5)}, "training": training}


def test_every_row_stands_with_its_intervals() -> None:
    lines = markdown(results()).splitlines()
    assert lines[2].startswith("| the seed's bot | .250 (.125–.500) |")
    assert lines[2].count("|") == lines[0].count("|")
    assert "| – |" in lines[2]  # nobody asked for the name
    assert lines[3].endswith("| 12.5 |")
    assert "| x | 61 | sft |" in lines


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot(results(), tmp_path / "iir.png")
    assert (tmp_path / "iir.png").read_bytes().startswith(b"\x89PNG")
