"""How a run begins, and how one that was broken off is taken up again."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from config import Config
from db.runs import Run
from finetune.retraining.job import Job, standing
from finetune.retraining.ledger import Ledger
from finetune.retraining.means import Means, Say
from finetune.retraining.runs_on_disk import CANCELLED, STALE, end, is_stale
from finetune.retraining.stages import committed
from finetune.retraining.workspace import Workspace
from inference.adapters import AdapterRegistry

if TYPE_CHECKING:
    from finetune.retraining.run import Order

# What a run's outcome rests on: fixed when it begins, whatever the file says later.
SECTIONS = ("retrain", "gate", "canary", "prepare", "finetune", "sampling", "prompt")
_TRAINED = ("promoted", "canary", "rejected")
_LOOKED_THROUGH = 1000  # rows


def begin(config: Config, order: Order, name: str, ledger: Ledger, means: Means, say: Say) -> Job:
    """A new run, with its row and its folder.

    Raises `InputError` for a suite or further dialogues that cannot be used, `InferenceError` if
    there is no such model, and `DatabaseError`.
    """
    from finetune.retraining.news import replays
    from finetune.retraining.rounds import probe_suite

    probe_suite(config)  # mistakes show before the first hour is spent
    replays(config.retrain)
    fingerprint = means.fingerprint(config, say)
    champion = standing(AdapterRegistry(config.adapters_dir), name, fingerprint)
    earlier = [run for run in ledger.newest(_LOOKED_THROUGH) if run.adapter == name]
    now = time.time()
    run = Run(
        key=_free_key(config.retraining_dir, ledger, now),
        adapter=name,
        stage="",
        started_at=now,
        champion=champion,
        pid=os.getpid(),
        settings={
            "trigger": order.trigger,
            "seed": order.seed,
            "force": order.force,
            "base_model": config.model.base,
            "base_fingerprint": fingerprint,
            "trained_until": _trained_until(earlier),
            "learn_since": (
                _learnt_until(earlier, champion)
                if config.retrain.start_from == "champion"
                else None
            ),
            "attempts": {},
            "notes": [],
            **{section: getattr(config, section).model_dump(mode="json") for section in SECTIONS},
        },
    )
    workspace = Workspace(config.retraining_dir / run.key)
    try:
        workspace.write_run(run)
        ledger.begin(run)
    except BaseException:
        shutil.rmtree(workspace.folder, ignore_errors=True)
        raise
    return Job(config, run, workspace, means, say)


def record_failure(config: Config, order: Order, name: str, reason: str, ledger: Ledger) -> None:
    """A row for a run that could not begin, so that the operators hear of it."""
    now = time.time()
    run = Run(
        key=_free_key(config.retraining_dir, ledger, now),
        adapter=name,
        state="failed",
        started_at=now,
        finished_at=now,
        settings={"trigger": order.trigger, "notes": []},
        reason=reason,
        pid=os.getpid(),
    )
    ledger.put(run)


def resume(
    config: Config,
    order: Order,
    left: Run | None,
    ledger: Ledger,
    means: Means,
    say: Say,
) -> Job | None:
    """The run `left`, to be gone on with; None if there is none, or it has to be given up.

    One that has promoted already is always brought to its end.
    """
    if left is None:
        return None
    workspace = Workspace(config.retraining_dir / left.key)
    run = replace(left, pid=os.getpid())
    job = Job(_as_begun(config, run.settings) or config, run, workspace, means, say)
    if committed(job.registry, run) is None:
        cancelled = ledger.is_cancelled(run.key)
        reason = CANCELLED if cancelled else _given_up(config, order, run, means, say)
        if reason:
            over = end(run, reason, ledger, "cancelled" if cancelled else "failed")
            workspace.write_run(over)
            workspace.shrink(())
            say(f"{run.key} is given up: {reason}")
            return None
    job.remark(
        f"Going on with {run.key}, which was broken off in the stage {run.stage or 'snapshot'}."
    )
    workspace.write_run(job.run)
    ledger.put(job.run)
    return job


def _given_up(config: Config, order: Order, run: Run, means: Means, say: Say) -> str:
    """Why a run is not gone on with; nothing, if it is."""
    if not order.resume:
        return "It was broken off, and a fresh run was asked for."
    if _as_begun(config, run.settings) is None:
        return "It was broken off, and was begun by another version of Troupe."
    if is_stale(run):
        return STALE
    if means.fingerprint(config, say) != run.settings["base_fingerprint"]:
        return "It was broken off, and model.base is another model by now."
    return ""


def _as_begun(config: Config, settings: dict[str, Any]) -> Config | None:
    """`config` with the settings that a run began with; None if they cannot be read any more."""
    found = {}
    try:
        for section in SECTIONS:
            kind = type(getattr(config, section))
            found[section] = kind.model_validate_json(json.dumps(settings[section]))
    except (ValidationError, KeyError, TypeError):
        return None
    return config.model_copy(update=found)


def _free_key(folder: Path, ledger: Ledger, now: float) -> str:
    """The time as a key that no folder and no row has, however the clock was set."""
    base = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    key, number = base, 1
    while (folder / key).exists() or ledger.get(key) is not None:
        number += 1
        key = f"{base}-{number}"
    return key


def _trained_until(earlier: list[Run]) -> float | None:
    """When the newest line was said that the last judged challenger of this adapter learnt from."""
    return next((_newest_at(run) for run in earlier if run.state in _TRAINED), None)


def _learnt_until(earlier: list[Run], champion: str) -> float | None:
    """The same of the champion itself."""
    return next((_newest_at(run) for run in earlier if run.challenger == champion), None)


def _newest_at(run: Run) -> float | None:
    return run.settings.get("newest_at")
