"""One run of the loop: begun or gone on with, stage by stage, to a promotion or a reason against.

A run is a folder (`workspace`) and a row (`db.runs`); the folder is what it goes on from, the row
what others see. Only one is at work at a time, which a lock of the kernel's sees to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from config import Config
from db.database import DatabaseError
from db.runs import Run, RunState
from finetune.disk import is_full_disk
from finetune.errors import InputError, TrainingError
from finetune.retraining.beginning import begin, record_failure, resume
from finetune.retraining.job import Job, Redo, Skip
from finetune.retraining.keeping import delete_old_versions
from finetune.retraining.ledger import Ledger
from finetune.retraining.locking import only_one
from finetune.retraining.means import Means, Say, configured
from finetune.retraining.runs_on_disk import prune, settle
from finetune.retraining.stages import KEPT, LOOSE, STAGES, committed
from finetune.retraining.stopping import Stopper
from finetune.retraining.watch import watch
from finetune.retraining.workspace import Damaged, Workspace
from inference.adapters import AdapterRegistry, check_name
from inference.types import InferenceError

MOST_ATTEMPTS = 5  # of one stage, without coming to its end or being stopped kindly
_KNOWN = (InputError, TrainingError, InferenceError, DatabaseError)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `adapter`: instead of the configured one.

    `force` trains however little is new; without `resume` a run that was broken off is given up.
    """

    adapter: str | None = None
    force: bool = False
    seed: int = 0
    resume: bool = True
    trigger: Literal["command", "schedule", "discord"] = "command"


def retrain(
    config: Config,
    order: Order,
    *,
    say: Say | None = None,
    means: Means | None = None,
    poll_seconds: float = 2.0,
) -> Run:
    """Do one run, or finish the one that was broken off; returns it as it ended.

    Whatever goes wrong inside stands in the run's state and reason, and what the adapter's name
    stands for has not changed then. SIGTERM and Ctrl-C are raised as `SystemExit` and
    `KeyboardInterrupt`, the run goes on the next time; a cancelled run is over. Call it in the main
    thread. Raises `InputError` and the errors of the rooms below for what is wrong before a run
    begins, and if another is at work.
    """
    say, means = say or _print, means or configured()
    name = order.adapter or config.retrain.adapter
    check_name(name)
    if not config.database_file.is_file():
        raise InputError(
            f"There is no database {config.database_file} yet; talk with a character first, or"
            " check paths.data."
        )
    with only_one(config.retraining_dir):
        ledger = Ledger(config, say)
        _look_at_live(config, say)
        left = settle(config.retraining_dir, ledger, name, AdapterRegistry(config.adapters_dir))
        job = resume(config, order, left, ledger, means, say)
        if job is None:
            job = _begun(config, order, name, ledger, means, say)
        worker = _Worker(job, ledger, poll_seconds)
        try:
            return worker.work()
        finally:
            prune(config.retraining_dir, config.retrain.keep_reports, ledger)


def _begun(config: Config, order: Order, name: str, ledger: Ledger, means: Means, say: Say) -> Job:
    """`begin`; what keeps a scheduled run from it is told in a row, as nobody reads its output."""
    try:
        return begin(config, order, name, ledger, means, say)
    except (InputError, InferenceError) as error:
        if order.trigger == "schedule":
            record_failure(config, order, name, f"It did not begin: {error}", ledger)
        raise


def _look_at_live(config: Config, say: Say) -> None:
    """End trials that are over, take bad versions back: under plain cron nobody else does it."""
    try:
        for event in watch(config):
            say(event.said)
    except (DatabaseError, OSError) as error:
        say(f"How the versions in use do could not be seen: {error}")


class _Worker:
    """Does what is left of one job."""

    def __init__(self, job: Job, ledger: Ledger, poll_seconds: float) -> None:
        self._job = job
        self._ledger = ledger
        self._stopper = Stopper(lambda: ledger.is_cancelled(job.run.key), seconds=poll_seconds)

    def work(self) -> Run:
        try:
            with self._stopper.listening():
                return self._explained(self._stages)
        except (KeyboardInterrupt, SystemExit):
            if self._job.run.state != "running":  # stopped when all was done
                return self._job.run
            if self._stopper.cancelled and self._committed() is None:
                stage = self._job.run.stage
                return self._finish("cancelled", f"It was cancelled in the stage {stage}.")
            self._pause()
            if self._stopper.cancelled:  # too late: what is left is the report
                return self._explained(self._stages)
            raise

    def _explained(self, work: Callable[[], Run]) -> Run:
        """`work`, any failure of which ends the run with one sentence."""
        try:
            return work()
        except Skip as reason:
            return self._finish("skipped", str(reason))
        except _KNOWN as error:
            return self._fail(str(error))
        except Exception as error:
            if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
                return self._fail(
                    f"The memory ran out in the stage {self._job.run.stage}; free some of it."
                )
            if is_full_disk(error):
                return self._fail(
                    f"The disk of {self._job.workspace.folder} is full; free some space or move"
                    " paths.data."
                )
            kind = type(error).__name__
            self._fail(f"The stage {self._job.run.stage} broke with {kind}: {error}"[:500])
            raise

    # -- stages ----------------------------------------------------------------------------------

    def _stages(self) -> Run:
        job, names = self._job, list(STAGES)
        at = 0
        while at < len(names):
            stage = names[at]
            result = self._finished(stage)
            if result is None:
                if self._ledger.is_cancelled(job.run.key) and self._committed() is None:
                    return self._finish("cancelled", f"It was cancelled before the stage {stage}.")
                job.workspace.discard(*names[at + 1 :])  # made from what is made anew now
                try:
                    result = self._enter(stage)
                except Redo as again:
                    job.remark(f"{again}, so the stage {again.stage} is done again.")
                    job.workspace.discard(*names[names.index(again.stage) :])
                    job.results, job.evaluations, at = {}, None, 0
                    continue
            job.results[stage] = result
            job.note(result.get("row", {}))
            self._keep()
            if stage == "prepare":  # what people said is kept no longer than it is needed
                job.workspace.discard("snapshot")
            at += 1
        outcome: RunState = job.results["promote"]["outcome"]
        return self._finish(outcome, job.run.reason)

    def _finished(self, stage: str) -> dict[str, Any] | None:
        """What the stage came to before, if it did."""
        workspace = self._job.workspace
        promoted = self._committed() is not None
        if promoted and stage in ("snapshot", "prepare"):
            return {}  # nothing that is left to do needs it
        if stage == "snapshot" and _is_done(workspace, "prepare"):
            return {}  # deleted once a training set was made of it
        try:
            found = workspace.result(stage)
            gone = f"what the stage {stage} left is gone"
        except Damaged as damage:
            found, gone = None, str(damage)
            if not promoted:
                workspace.discard(stage)
                self._job.remark(f"{damage}, so the stage {stage} is done again.")
        if found is None and promoted and stage not in ("promote", "report"):
            raise TrainingError(f"{gone[0].upper()}{gone[1:]}.")
        return found

    def _enter(self, stage: str) -> dict[str, Any]:
        """Do a stage to its end."""
        job = self._job
        attempts = {**job.run.settings["attempts"]}
        attempts[stage] = attempts.get(stage, 0) + 1
        if attempts[stage] > MOST_ATTEMPTS:
            raise TrainingError(
                f"The stage {stage} was begun {MOST_ATTEMPTS} times and never came to its end; see"
                " whether the machine runs out of memory."
            )
        job.note({"stage": stage, "stage_at": time.time(), "settings": {"attempts": attempts}})
        self._keep()
        job.say(f"{job.run.key}: {stage}.")
        began = time.monotonic()
        try:
            result = STAGES[stage](job)
        finally:
            taken = job.run.stage_times.get(stage, 0.0) + time.monotonic() - began
            job.note({"stage_times": {**job.run.stage_times, stage: taken}})
        return job.workspace.complete(stage, result, loose=LOOSE.get(stage, ()))

    def _committed(self) -> Literal["promoted", "canary"] | None:
        return committed(self._job.registry, self._job.run)

    # -- the run's folder and row ----------------------------------------------------------------

    def _keep(self) -> None:
        self._job.workspace.write_run(self._job.run)
        self._ledger.put(self._job.run)

    def _pause(self) -> None:
        """A kind stop is no attempt that failed."""
        run = self._job.run
        attempts = {**run.settings["attempts"]}
        attempts[run.stage] = max(0, attempts.get(run.stage, 1) - 1)
        self._job.note({"settings": {"attempts": attempts}})
        self._job.remark(
            f"Stopped in the stage {run.stage}; the next retraining goes on from there."
        )
        self._keep()

    def _fail(self, reason: str) -> Run:
        done: RunState | None = self._committed()
        if "promote" in self._job.results:
            done = self._job.results["promote"]["outcome"]
        if done is not None:  # what was decided stays so, report or none
            self._job.remark(f"The report could not be written: {reason}")
            return self._finish(done, self._job.run.reason)
        return self._finish("failed", reason)

    def _finish(self, state: RunState, reason: str) -> Run:
        """End the run: the folder first, which is what the next run believes."""
        job = self._job
        ended = max(time.time(), job.run.started_at)  # the clock may have been put back
        job.note({"state": state, "reason": reason, "finished_at": ended})
        try:
            job.workspace.write_run(job.run)
        except OSError as error:
            job.say(f"{job.workspace.folder} cannot be written: {error.strerror or error}.")
        self._ledger.put(job.run)
        job.workspace.shrink(KEPT)
        if state in ("promoted", "canary", "rejected"):
            delete_old_versions(job.config, job.run.adapter, say=job.say)
        return job.run


def _is_done(workspace: Workspace, stage: str) -> bool:
    try:
        return workspace.result(stage) is not None
    except Damaged:
        return False


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
