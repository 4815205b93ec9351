"""The folders of all runs, brought into line with their rows."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from db.runs import Run, RunState
from finetune.retraining.ledger import Ledger
from finetune.retraining.stages import KEPT
from finetune.retraining.workspace import Damaged, Workspace

KEY = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


def workspaces(folder: Path) -> Iterator[Workspace]:
    """Those of all runs under `folder`, oldest first."""
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and KEY.fullmatch(entry.name):
                yield Workspace(entry)


def settle(folder: Path, ledger: Ledger, adapter: str) -> Run | None:
    """Make rows and folders say the same; returns the run of `adapter` that was broken off.

    A row that the database lost (put back from a backup) is made anew from its folder; a row that
    says that it is running, and has no folder to go on from, has failed. Of several runs broken off
    the newest is gone on with. Nothing else may be at work.
    """
    known: dict[str, Run] = {}
    for workspace in workspaces(folder):
        try:
            run = workspace.read_run()
        except Damaged:
            if not any(entry.is_dir() for entry in workspace.folder.iterdir()):
                shutil.rmtree(workspace.folder)  # killed before it had begun
            continue
        known[run.key] = run
        if run.state != "running":
            workspace.shrink(KEPT)  # unless it was killed between its end and this
        row = ledger.get(run.key)
        if row is None and run.state != "running":
            ledger.put_back(run)
        elif row is None or (row.state == "running" and run.state != "running"):
            ledger.put(run)
    for row in ledger.unfinished():
        if row.key not in known:
            what = "cannot be read" if (folder / row.key).is_dir() else "is gone"
            end(
                row,
                f"It cannot be gone on with: what it kept in {folder / row.key} {what}.",
                ledger,
            )
    left = [run for run in known.values() if run.state == "running" and run.adapter == adapter]
    for run in left[:-1]:
        over = end(run, f"It was broken off, and {left[-1].key} was begun since.", ledger)
        workspace = Workspace(folder / run.key)
        workspace.write_run(over)
        workspace.shrink(())
    return left[-1] if left else None


def end(run: Run, reason: str, ledger: Ledger, state: RunState = "failed") -> Run:
    """`run` as over, in its row."""
    at = max(time.time(), run.started_at)
    over = replace(run, state=state, reason=reason, finished_at=at)
    ledger.put(over)
    return over


def prune(folder: Path, keep: int, ledger: Ledger) -> None:
    """Delete the folders of all finished runs but the newest `keep`; their rows stay.

    Those with a report are counted for themselves: many nights on which nothing was trained do not
    push one out.
    """
    finished = []
    for workspace in workspaces(folder):
        try:
            if workspace.read_run().state != "running":
                finished.append(workspace)
        except Damaged:
            finished.append(workspace)
    for reported in (True, False):
        alike = [one for one in finished if one.place("report").is_dir() == reported]
        for workspace in alike[: max(0, len(alike) - keep)]:
            shutil.rmtree(workspace.folder, ignore_errors=True)
            ledger.forget_report(workspace.folder.name)
