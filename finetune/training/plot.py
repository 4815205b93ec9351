"""The course of a training as a picture and as a page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PICTURE, PAGE = "training.png", "training.html"
_WINDOW = 20  # a running mean is over a twentieth of the steps

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "img{max-width:100%}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


def write_plots(
    folder: Path, title: str, history: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]
) -> None:
    """Write `training.png` and the self-contained `training.html` into `folder`.

    `history` holds rows as `watching.History` keeps them.
    """
    picture = draw(title, history)
    (folder / PICTURE).write_bytes(picture)
    rows = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>"
        for key, value in figures.items()
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<img alt="Loss and learning rate by step" src="data:image/png;base64,'
        f'{base64.b64encode(picture).decode("ascii")}"><table>{rows}</table></html>\n'
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def draw(title: str, history: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss, its running mean, the validation loss and the learning rate, as a PNG."""
    phases = list(dict.fromkeys(row["phase"] for row in history))
    figure = Figure(figsize=(8, 4.5 * len(phases)), layout="constrained")
    figure.suptitle(title)
    for place, phase in enumerate(phases, start=1):
        rows = [row for row in history if row["phase"] == phase]
        losses = [row for row in rows if "loss" in row]
        axes = figure.add_subplot(len(phases), 1, place)
        steps = [row["step"] for row in losses]
        values = [row["loss"] for row in losses]
        axes.plot(steps, values, color="tab:blue", alpha=0.35, linewidth=1, label="loss")
        axes.plot(steps, _running_mean(values), color="tab:blue", label="running mean")
        checked = [row for row in rows if "validation_loss" in row]
        if checked:
            axes.plot(
                [row["step"] for row in checked],
                [row["validation_loss"] for row in checked],
                "o-",
                color="tab:red",
                label="validation",
            )
        axes.set_xlabel(f"step ({phase})")
        axes.set_ylabel("loss")
        rates = axes.twinx()
        rates.plot(
            steps,
            [row["learning_rate"] for row in losses],
            color="tab:gray",
            linestyle=":",
            label="learning rate",
        )
        rates.set_ylabel("learning rate")
        axes.legend(loc="upper right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def _running_mean(values: Sequence[float]) -> list[float]:
    width = max(1, len(values) // _WINDOW)
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - width) : end]
        means.append(sum(part) / len(part))
    return means
