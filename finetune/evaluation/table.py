"""Figures as text: a measure a line, an adapter a column."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.evaluation.figures import Evaluation, Figure

# Which way is better, where there is one; mean length is to be that of people.
BETTER = {
    **dict.fromkeys(("IIR", "FRR", "XTR4", "PCR4", "DupTurn", "Open3", "SR4"), "↓"),
    **dict.fromkeys(("perplexity", "recent_perplexity"), "↓"),
    **dict.fromkeys(("Recall", "distinct-2", "ends_by_itself", "relevance"), "↑"),
}
MEANING = {
    "IIR": "introduces itself unasked",
    "FRR": "states a fact of its card again",
    "XTR4": "4-grams it said before",
    "PCR4": "4-grams of its card",
    "DupTurn": "says an earlier reply again",
    "Open3": "opens with the same three words",
    "SR4": "4-grams twice in one reply",
    "Recall": "gives its name when asked",
    "perplexity": "of held-out dialogue",
    "recent_perplexity": "of the log's newest dialogues",
    "distinct-2": "distinct word pairs",
    "mean_length": "words a reply",
    "ends_by_itself": "not at the length limit",
    "relevance": "similarity to what was said",
}
_TWO_PLACES = ("perplexity", "recent_perplexity", "mean_length")


def measures_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """Every measure that some adapter has, in the order of reading."""
    present = {name for evaluation in evaluations for name in evaluation.figures}
    return [*(name for name in MEANING if name in present), *sorted(present - MEANING.keys())]


def value_text(name: str, figure: Figure | None) -> str:
    """`.031`, `12.40`, or a dash for what was not measured."""
    if figure is None or figure.value is None:
        return "–"
    return _number(name, figure.value)


def interval_text(name: str, figure: Figure | None) -> str:
    """`[.020, .044]`, or nothing."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"[{_number(name, figure.low)}, {_number(name, figure.high)}]"


def table(evaluations: Sequence[Evaluation]) -> str:
    """The figures of all adapters side by side, with 95 % intervals and the replies behind each."""
    rows = [["", *(evaluation.adapter for evaluation in evaluations), ""]]
    for name in measures_of(evaluations):
        cells = [_cell(name, evaluation.figures.get(name)) for evaluation in evaluations]
        rows.append([f"{name} {BETTER.get(name, '')}".rstrip(), *cells, MEANING.get(name, "")])
    rows.append(["dialogues", *(str(evaluation.dialogues) for evaluation in evaluations), ""])
    if any(evaluation.failed for evaluation in evaluations):
        rows.append(["failed replies", *(str(each.failed) for each in evaluations), "not measured"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _cell(name: str, figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "–"
    return f"{value_text(name, figure)} {interval_text(name, figure)} n={figure.n}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]


def _number(name: str, value: float) -> str:
    if name in _TWO_PLACES:
        return f"{value:.2f}"
    text = f"{value:.4f}" if 0 < value < 0.001 else f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith("0.") else text
