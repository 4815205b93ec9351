"""One line of the results: what was measured, what is asked for, and how that is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` is larger where we are better, so a bar that reads "at most 1.3" is held as 1/1.3.

    `ratio` None means not measured; `detail` then gives the reason.
    """

    name: str
    ratio: float | None
    at_least: float | None = None
    aim: float | None = None
    detail: str = ""

    def as_json(self) -> dict[str, float | None]:
        ratio = None if self.ratio is None else round(self.ratio, 3)
        return {"ratio": ratio, "at_least": self.at_least, "aim": self.aim}


def not_measured(name: str, reason: str, at_least: float, aim: float) -> Figure:
    return Figure(name, None, at_least, aim, reason)


def as_json(figures: Sequence[Figure]) -> dict[str, dict[str, float | None]]:
    """What `--json` prints: the rows that were measured."""
    return {f.name: f.as_json() for f in figures if f.ratio is not None}


def as_table(figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    lines = [
        "| row (larger is better) | ratio | at least | aim | measured |",
        "|---|---|---|---|---|",
    ]
    for f in figures:
        ratio = "not measured" if f.ratio is None else f"**{f.ratio:.2f}** {_verdict(f)}".strip()
        lines.append(
            f"| {f.name} | {ratio} | {_number(f.at_least)} | {_number(f.aim)} | {f.detail} |"
        )
    return "\n".join(lines)


def _verdict(figure: Figure) -> str:
    if figure.ratio is None or figure.at_least is None or figure.aim is None:
        return ""
    if figure.ratio >= figure.aim:
        return "(aim reached)"
    if figure.ratio >= figure.at_least:
        return "(bar reached)"
    return f"(missed by {1 - figure.ratio / figure.at_least:.0%})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
