"""The page: figures, plots, and the transcripts side by side with the introductions marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finetune.evaluation.figures import Evaluation
from finetune.evaluation.report import plots
from finetune.evaluation.table import (
    BETTER,
    MEANING,
    interval_text,
    measures_of,
    value_text,
)
from finetune.evaluation.transcripts import Reply
from persona_prompts.identity.introductions import elicits, introductions

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a reply; `marked`: it introduces the speaker."""

    text: str
    marked: bool


def page(evaluations: Sequence[Evaluation], *, title: str, notes: Sequence[str] = ()) -> str:
    """The whole page as HTML; it needs no other file and no network.

    `notes` are sentences about how it came about. Everything that was said is escaped.
    """
    shown = [
        ("Introductions, turn by turn", plots.iir_by_turn(evaluations)),
        ("Repetition of earlier replies", plots.xtr4_distribution(evaluations)),
        ("Length", plots.length_distribution(evaluations)),
    ]
    return render(
        "page.html.jinja",
        evaluations,
        title=title,
        notes=notes,
        # matplotlib escapes what it is given; it has only names of adapters.
        plots=[(heading, Markup(svg)) for heading, svg in shown],
    )


def render(
    template: str, evaluations: Sequence[Evaluation], *folders: Path, **values: object
) -> str:
    """`template`, of one of `folders` or of this one, with `values`.

    What `figures.html.jinja` and `transcripts.html.jinja` show of `evaluations` is given besides,
    and the page's `style`.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # our own file
        adapters=[evaluation.adapter for evaluation in evaluations],
        rows=_rows(evaluations),
        counts=[(evaluation.dialogues, evaluation.failed) for evaluation in evaluations],
        dialogues=_dialogues(evaluations),
        **values,
    )


def _rows(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    rows = []
    for name in measures_of(evaluations):
        figures = [evaluation.figures.get(name) for evaluation in evaluations]
        cells = [
            (value_text(name, figure), interval_text(name, figure), figure.n if figure else 0)
            for figure in figures
        ]
        rows.append(
            {
                "name": name,
                "better": BETTER.get(name, ""),
                "meaning": MEANING.get(name, ""),
                "cells": cells,
            }
        )
    return rows


def _dialogues(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Every script once; in it each turn with the replies of all adapters that played it."""
    found: dict[str, dict[str, Any]] = {}
    for column, evaluation in enumerate(evaluations):
        for measured in evaluation.measured:
            transcript = measured.transcript
            user = transcript.user
            shown = found.setdefault(
                user.id, {"id": user.id, "name": user.name, "card": user.card, "turns": []}
            )
            for turn, (said, reply) in enumerate(
                zip(transcript.user_turns, transcript.replies, strict=True)
            ):
                if turn == len(shown["turns"]):
                    shown["turns"].append(
                        {
                            "said": said,
                            "asked": elicits(said, user.names),
                            "replies": [None] * len(evaluations),
                        }
                    )
                shown["turns"][turn]["replies"][column] = _shown(reply, user.names)
    return list(found.values())


def _shown(reply: Reply, names: Sequence[str]) -> dict[str, Any]:
    pieces: list[Piece] = []
    at = 0
    for start, end in introductions(reply.text, names):
        pieces += [Piece(reply.text[at:start], False), Piece(reply.text[start:end], True)]
        at = end
    pieces.append(Piece(reply.text[at:], False))
    return {
        "pieces": [piece for piece in pieces if piece.text],
        "cut": reply.finish_reason == "length",
        "error": reply.error or ("Nothing was said." if reply.failed else ""),
    }
