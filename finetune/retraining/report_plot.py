"""IIR by turn, before and after, as a picture for a channel."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from finetune.evaluation.figures import Evaluation, Figure
from finetune.evaluation.report.plots import COLOURS

_SIZE, _DPI = (8.0, 4.5), 150  # inches, and dots an inch: 1200 × 675, as Discord previews
_LEAST_TOP = 0.1  # of the y axis: nothing at all must not look like much


def iir_by_turn(champion: Evaluation, challenger: Evaluation) -> bytes:
    """A PNG: the share of unasked replies that introduce the speaker, by turn, with 95 % bands.

    From the second reply (k = 1) on: the first may say who speaks.
    """
    with rc_context({"text.parse_math": False}):  # names of adapters may hold dollars
        drawing = Drawing(figsize=_SIZE, dpi=_DPI, layout="constrained", facecolor="white")
        axes = drawing.add_subplot()
        top = _LEAST_TOP
        contenders = ((champion, "champion"), (challenger, "challenger"))
        for (evaluation, role), colour in zip(contenders, COLOURS, strict=False):
            points = _points(evaluation)
            if not points:
                continue
            turns, values, lows, highs = zip(*points, strict=True)
            axes.fill_between(turns, lows, highs, color=colour, alpha=0.15, linewidth=0)
            axes.plot(turns, values, "o-", color=colour, label=f"{evaluation.adapter} ({role})",
                linewidth=2)  # fmt: skip
            top = max(top, *highs)
        axes.set_title("Introduces itself unasked, by turn", loc="left", fontweight="bold")
        axes.set_xlabel("the bot's reply, counted from 0")
        axes.set_ylabel("share of replies (IIR)")
        axes.set_ylim(0, min(1.0, top) * 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "no such reply was measured", transform=axes.transAxes, ha="center")
        stream = io.BytesIO()
        drawing.savefig(stream, format="png", metadata={"Software": None})
        return stream.getvalue()


def _points(evaluation: Evaluation) -> Sequence[tuple[int, float, float, float]]:
    """(turn, value, low, high) of every turn that has replies of the kind."""
    return [
        (turn, *known)
        for turn, figure in sorted(evaluation.iir_by_turn.items())
        if turn >= 1 and (known := _whole(figure)) is not None
    ]


def _whole(figure: Figure) -> tuple[float, float, float] | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return figure.value, figure.low, figure.high
