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
from finetune.retraining.stages import KEPT, committed
from finetune.retraining.workspace import Damaged, Workspace
from inference.adapters import AdapterRegistry

STALE_SECONDS = 3 * 86_400.0  # what was agreed to be learnt from may have changed since
STALE = (
    f"It was broken off more than {STALE_SECONDS / 86_400:.0f} days ago, and its data are as old."
)
CANCELLED = "It was cancelled after it had been broken off."
KEY = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


def workspaces(folder: Path) -> Iterator[Workspace]:
    """Those of all runs under `folder`, oldest first."""
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and KEY.fullmatch(entry.name):
                yield Workspace(entry)


def settle(folder: Path, ledger: Ledger, adapter: str, registry: AdapterRegistry) -> Run | None:
    """Make rows and folders say the same; returns the run of `adapter` that was broken off.

    A row that the database lost (put back from a backup) is made anew from its folder, and what a
    folder says of its run, where it is torn, from its row. A row that says that it is running, and
    has no folder to go on from, has failed. Of several runs broken off the newest is gone on with;
    those of other adapters are given up after some days, as nobody may ever ask for them again.
    Nothing else may be at work.
    """
    known: dict[str, Run] = {}
    for workspace in workspaces(folder):
        run = _recorded(workspace, ledger)
        if run is None:
            if any(entry.is_dir() for entry in workspace.folder.iterdir()):
                workspace.shrink(KEPT)  # nobody knows what it was
            else:
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
            gone = f"It cannot be gone on with: what it kept in {folder / row.key} is gone."
            _put_down(row, gone, "failed", ledger, registry)
    broken_off = [run for run in known.values() if run.state == "running"]
    left = [run for run in broken_off if run.adapter == adapter]
    for run in broken_off:
        why: tuple[str, RunState] | None = None
        if ledger.is_cancelled(run.key) and run not in left[-1:]:
            why = CANCELLED, "cancelled"
        elif run.adapter != adapter and is_stale(run):
            why = STALE, "failed"
        elif run in left[:-1]:
            why = f"It was broken off, and {left[-1].key} was begun since.", "failed"
        if why is not None:
            workspace = Workspace(folder / run.key)
            workspace.write_run(_put_down(run, *why, ledger, registry))
            workspace.shrink(KEPT)
    return left[-1] if left else None


def is_stale(run: Run) -> bool:
    """Whether a run that was broken off has lain still for too long to be gone on with."""
    return time.time() - (run.stage_at or run.started_at) > STALE_SECONDS


def _recorded(workspace: Workspace, ledger: Ledger) -> Run | None:
    """The run of a folder, by its file or, where that is torn, by its row; None: neither knows."""
    try:
        return workspace.read_run()
    except Damaged:
        row = ledger.get(workspace.folder.name)
        if row is not None:
            workspace.write_run(row)
        return row


def _put_down(
    run: Run, reason: str, state: RunState, ledger: Ledger, registry: AdapterRegistry
) -> Run:
    """End a run that is not gone on with; what it promoted stays so, and lacks its report."""
    done = committed(registry, run)
    if done is None:
        return end(run, reason, ledger, state)
    notes = [*run.settings.get("notes", []), f"There is no report. {reason}"]
    promoted = replace(run, settings={**run.settings, "notes": notes})
    return end(promoted, run.reason, ledger, done)


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
