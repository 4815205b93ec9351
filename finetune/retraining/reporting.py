"""What a run's verdict rests on, as files: a page, a picture, and short texts for a channel."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from db.runs import Run
from finetune.disk import full_disk_said
from finetune.evaluation.figures import Evaluation, Figure
from finetune.evaluation.report import plots
from finetune.evaluation.report.page import render
from finetune.retraining.excerpts import SHOWN, Excerpt, excerpts
from finetune.retraining.gate import Verdict
from finetune.retraining.report_plot import iir_by_turn
from finetune.retraining.report_summary import excerpt_text, outcome, summary

PAGE = "index.html"
SUMMARY = "summary.md"
PICTURE = "iir_by_turn.png"
EXCERPTS = tuple(f"excerpt-{number}.md" for number in range(1, SHOWN + 1))
FIGURES = "report.json"

_TEMPLATES = Path(__file__).with_name("report")


def write(
    folder: Path, run: Run, verdict: Verdict, champion: Evaluation, challenger: Evaluation
) -> Path:
    """Write the report of `run` into `folder` and return it; an older one in it is replaced.

    In it are `index.html`, which needs no other file, `summary.md` and up to three `excerpt-N.md`,
    each short enough for a Discord message, `iir_by_turn.png`, and `report.json`. The folder
    appears whole or not at all. Raises `DiskFullError`.
    """
    chosen = excerpts(champion, challenger)
    staging = folder.with_name(f".{folder.name}.staging-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    with full_disk_said(
        f"The disk of {folder.parent} is full; free some space and retrain again, or move"
        " paths.data."
    ):
        try:
            staging.mkdir(parents=True)
            _fill(staging, run, verdict, champion, challenger, chosen)
            shutil.rmtree(folder, ignore_errors=True)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def _fill(
    folder: Path,
    run: Run,
    verdict: Verdict,
    champion: Evaluation,
    challenger: Evaluation,
    chosen: list[Excerpt],
) -> None:
    _write(folder / PICTURE, iir_by_turn(champion, challenger))
    page = _page(run, verdict, champion, challenger, chosen)
    _write(folder / PAGE, page.encode())
    for name, excerpt in zip(EXCERPTS, chosen, strict=False):
        text = excerpt_text(excerpt, champion.adapter, challenger.adapter)
        _write(folder / name, f"{text}\n".encode())
    figures = {
        "run": dataclasses.asdict(run),
        "verdict": verdict.as_json(),
        "champion": _as_json(champion),
        "challenger": _as_json(challenger),
        "excerpts": [dataclasses.asdict(excerpt) for excerpt in chosen],
    }
    text = json.dumps(_finite(figures), ensure_ascii=False, indent=1, allow_nan=False)
    _write(folder / FIGURES, text.encode())
    # Last, for it is what a channel is told.
    _write(folder / SUMMARY, f"{summary(run, verdict, champion, challenger)}\n".encode())


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _page(
    run: Run,
    verdict: Verdict,
    champion: Evaluation,
    challenger: Evaluation,
    chosen: list[Excerpt],
) -> str:
    begun = datetime.fromtimestamp(run.started_at, UTC) if run.started_at else None
    return render(
        "index.html.jinja",
        [_first_plays(champion), _first_plays(challenger)],
        _TEMPLATES,
        title=f"{challenger.adapter} {outcome(run, verdict)}",
        reason=run.reason or verdict.reason,
        good=verdict.promote and run.state != "rejected",
        own_style=Markup((_TEMPLATES / "index.css").read_text(encoding="utf-8")),  # our own file
        run=run,
        begun=begun.strftime("%Y-%m-%d %H:%M UTC") if begun else "",
        verdict=verdict,
        # matplotlib escapes what it is given; it has only names of adapters.
        plot=Markup(plots.iir_by_turn([_later_turns(champion), _later_turns(challenger)])),
        excerpts=chosen,
        facts=_facts(run),
    )


def _first_plays(evaluation: Evaluation) -> Evaluation:
    """With the first play of each script only; the page has a place for one."""
    first = {each.transcript.user.id: each for each in reversed(evaluation.measured)}
    kept = [each for each in evaluation.measured if first[each.transcript.user.id] is each]
    return dataclasses.replace(evaluation, measured=kept)


def _later_turns(evaluation: Evaluation) -> Evaluation:
    """Without the first reply, which may say who speaks and is not in the IIR."""
    later = {turn: figure for turn, figure in evaluation.iir_by_turn.items() if turn >= 1}
    return dataclasses.replace(evaluation, iir_by_turn=later)


def _facts(run: Run) -> list[tuple[str, str]]:
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in run.stage_times.items())
    settings = json.dumps(run.settings, ensure_ascii=False, default=str)
    known = (("adapter", run.adapter), ("times", times), ("data", run.data_hash))
    return [(name, value) for name, value in (*known, ("settings", settings)) if value]


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    def all_of(figures: dict[Any, Figure]) -> dict[str, Any]:
        return {str(name): figure.as_json() for name, figure in figures.items()}

    return {
        "adapter": evaluation.adapter,
        "dialogues": evaluation.dialogues,
        "failed_replies": evaluation.failed,
        "figures": all_of(evaluation.figures),
        "iir_by_turn": all_of(evaluation.iir_by_turn),
    }


def _finite(value: Any) -> Any:
    """`value` with null for numbers that JSON does not have: a broken model's perplexity."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
