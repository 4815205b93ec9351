"""The page's plots, as SVG that stands inside it and takes its colours from it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from finetune.evaluation.figures import Evaluation

# Okabe and Ito (2008): told apart by everybody, on light and on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8a8a")
_INK = "#808080"  # the stylesheet puts the page's own text colour in its place
_SIZE = (7.0, 3.2)  # inches
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_NAMESPACE = re.compile(r' xmlns(?::\w+)?="[^"]*"')


def iir_by_turn(evaluations: Sequence[Evaluation]) -> str:
    """IIR of each turn from the second on, unasked, with its interval as a band."""
    with _drawing("Bot's reply, from 0", "IIR") as (axes, svg):
        top = 0.0
        for evaluation, colour in _coloured(evaluations):
            known = [
                (k, figure.value, figure.low, figure.high)
                for k, figure in evaluation.iir_by_turn.items()
                if figure.value is not None
            ]
            if not known:
                continue
            turns, values, lows, highs = zip(*known, strict=True)
            axes.plot(turns, values, color=colour, marker="o", label=evaluation.adapter)
            axes.fill_between(turns, lows, highs, color=colour, alpha=0.15, linewidth=0)
            top = max(top, *highs)
        axes.set_ylim(0, min(1.0, max(0.1, top * 1.05)))
        axes.xaxis.get_major_locator().set_params(integer=True)
    return svg.getvalue()


def xtr4_distribution(evaluations: Sequence[Evaluation]) -> str:
    """How many replies repeat how much of what was said before."""
    with _drawing("XTR4: share of a reply's 4-grams that it said before", "share of replies") as (
        axes,
        svg,
    ):
        _histogram(axes, evaluations, "xtr4", np.linspace(0, 1, 21))
    return svg.getvalue()


def length_distribution(evaluations: Sequence[Evaluation]) -> str:
    """How long replies are."""
    longest = max(
        (m.words for e in evaluations for each in e.measured for m in each.measures), default=1
    )
    with _drawing("words in a reply", "share of replies") as (axes, svg):
        _histogram(axes, evaluations, "words", np.linspace(0, longest + 1, 25))
    return svg.getvalue()


def _histogram(axes: Any, evaluations: Sequence[Evaluation], name: str, edges: Any) -> None:
    for evaluation, colour in _coloured(evaluations):
        values = [
            value
            for dialogue in evaluation.measured
            for m in dialogue.measures
            if (value := getattr(m, name)) is not None
        ]
        if values:
            weights = np.full(len(values), 1 / len(values))
            axes.hist(
                *(values, edges),
                **{"weights": weights, "histtype": "step", "linewidth": 1.6},
                color=colour,
                label=evaluation.adapter,
            )


def _coloured(evaluations: Sequence[Evaluation]) -> Iterator[tuple[Evaluation, str]]:
    for at, evaluation in enumerate(evaluations):
        yield evaluation, COLOURS[at % len(COLOURS)]


@contextmanager
def _drawing(x: str, y: str) -> Iterator[tuple[Any, io.StringIO]]:
    """Axes to draw on, and where the SVG is in the end; nothing global of matplotlib is used."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    svg = io.StringIO()
    settings: Any = {
        **{"svg.fonttype": "none", "svg.hashsalt": "troupe", "font.family": "sans-serif"},
        "text.parse_math": False,  # names of adapters may hold dollars
    }
    with rc_context(settings):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        yield axes, svg
        axes.set_xlabel(x, color=_INK)
        axes.set_ylabel(y, color=_INK)
        axes.tick_params(colors=_INK)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_INK)
        labels = axes.get_legend_handles_labels()[1]
        if labels:
            axes.legend(frameon=False, labelcolor=_INK)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=_NO_METADATA)
        text = written.getvalue()
        # Inside HTML the namespaces are known; without their addresses nothing looks external.
        text = _NAMESPACE.sub("", text[text.index("<svg") :])
        svg.write(text.replace(_INK, "currentColor"))
