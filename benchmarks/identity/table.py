"""The experiment's figures as a table for RESULTS.md, and a plot of how introductions grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_RATES = ("IIR", "FRR", "XTR4", "DupTurn", "Open3", "SR4", "Recall")
_GUARDS = ("distinct-2", "mean_length", "ends_by_itself")
_SHOWN_BY_TURN = (
    "the seed's bot",
    "the seed's bot, our prompt and DRY only",
    "LoRA on raw logs",
    "recommended recipe",
)


def markdown(results: dict[str, Any]) -> str:
    """All rows with their intervals, and how long every training took."""
    heads = ["row", *_RATES, *_GUARDS, "perplexity"]
    lines = [table_row(heads), table_row(["---"] * len(heads))]
    for row in results["rows"]:
        figures = row["figures"]["all"]
        guards = {**figures, "mean_length": row["figures"]["persona_chat"]["mean_length"]}
        # Perplexity is measured behind our prompt; behind the seed's it would be another text's.
        seeds = row["label"].endswith("seed's prompt") or row["label"] == "the seed's bot"
        perplexity = None if seeds else results["perplexity"][row["adapter"]]
        cells = [with_interval(figures[name]) for name in _RATES]
        cells += [number(guards[name]["value"]) for name in _GUARDS]
        lines.append(table_row([row["label"], *cells, number(perplexity and perplexity["value"])]))
    lines += ["", table_row(["training", "seconds", "method"]), table_row(["---"] * 3)]
    for name, stage in results["training"].items():
        method = stage["figures"]["training"]["method"]
        lines.append(table_row([name, f"{stage['seconds']:.0f}", method]))
    return "\n".join(lines)


def plot(results: dict[str, Any], file: Path) -> None:
    """IIR by turn of the rows that matter, with intervals, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for row in results["rows"]:
        if row["label"] not in _SHOWN_BY_TURN:
            continue
        points = [
            (int(turn) + 1, found["value"], found["low"], found["high"])
            for turn, found in row["figures"]["all"]["iir_by_turn"].items()
            if found["value"] is not None
        ]
        turns, values, low, high = zip(*points, strict=True)
        axes.plot(turns, values, marker="o", label=row["label"])
        axes.fill_between(turns, low, high, alpha=0.15)
    axes.set_xlabel("turn")
    axes.set_ylabel("share of replies that introduce the speaker")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(file, dpi=120)


def table_row(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def with_interval(figure: dict[str, Any]) -> str:
    """A figure as JSON gives it, with its 95 % interval."""
    if figure["value"] is None:
        return "–"
    return f"{number(figure['value'])} ({number(figure['low'])}–{number(figure['high'])})"


def number(value: float | None) -> str:
    """Three digits or so, as the tables have them."""
    if value is None:
        return "–"
    if value >= 3:
        return f"{value:.1f}"
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.2f}"
