"""Runs that are stopped and gone on with, whatever the world does meanwhile."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from config import Config
from db.database import Database
from db.runs import Run
from finetune.retraining import runs_on_disk
from finetune.retraining.means import Lesson
from finetune.retraining.run import MOST_ATTEMPTS
from finetune.retraining.workspace import Workspace
from tests.finetune.retraining.light import (
    NAME,
    Stand,
    publish_champion,
    retraining_config,
    say_more,
)
from tests.finetune.retraining.running import (
    CHALLENGER,
    CHAMPION,
    Signalled,
    go,
    in_database,
    row,
    serving,
)

pytestmark = pytest.mark.usefixtures("quick_report")

# -- stopping and going on -----------------------------------------------------------------------


def test_a_signal_stops_and_the_next_goes_on_from_the_checkpoint(config: Config) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    [run] = in_database(config, lambda database: database.runs.newest(1))
    assert (run.state, run.stage) == ("running", "train")
    assert "Stopped in the stage train" in run.settings["notes"][-1]
    assert serving(config) == CHAMPION
    again = go(config, stand)
    assert (again.key, again.state) == (run.key, "promoted")
    assert stand.resumed == [0, 3]
    assert again.settings["notes"][-1].startswith(f"Going on with {run.key}, which was broken off")
    assert again.started_at == run.started_at


def test_what_was_published_is_not_trained_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand()
    with monkeypatch.context() as patch:
        complete = Workspace.complete

        def stopped(workspace: Workspace, stage: str, *given: Any, **named: Any) -> Any:
            if stage == "train":
                raise SystemExit(143)
            return complete(workspace, stage, *given, **named)

        patch.setattr(Workspace, "complete", stopped)
        with pytest.raises(SystemExit):
            go(config, stand)
    run = go(config, stand)
    assert (run.state, run.challenger, len(stand.trained)) == ("promoted", CHALLENGER, 1)


def test_what_was_configured_when_it_began_counts(config: Config) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    strict = config.model_copy(update={"gate": config.gate.model_copy(update={"min_turns": 10**6})})
    assert go(strict, stand).state == "promoted"


def test_a_fresh_run_gives_up_what_was_broken_off(config: Config) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    run = go(config, stand, resume=False)
    first, second = in_database(config, lambda database: database.runs.newest(2))[::-1]
    assert (first.state, second.state) == ("failed", "promoted")
    assert "a fresh run was asked for" in first.reason
    assert run == second
    assert stand.resumed == [0, 0]


def test_a_wish_to_cancel_is_heard_in_the_middle_of_a_stage(config: Config) -> None:
    class Slow(Stand):
        def train(self, config: Config, settings: Any, lesson: Lesson) -> None:
            [run] = in_database(config, lambda database: database.runs.newest(1))
            in_database(config, lambda database: database.runs.request_cancel(run.key))
            for _ in range(3000):
                time.sleep(0.01)
            raise AssertionError("nobody heard")

    handler = signal.getsignal(signal.SIGTERM)
    run = go(config, Slow())
    assert (run.state, run.reason) == ("cancelled", "It was cancelled in the stage train.")
    assert row(config, run.key) == dataclasses.replace(run, cancel_requested=True)
    assert serving(config) == CHAMPION
    assert signal.getsignal(signal.SIGTERM) == handler
    assert go(config).state == "promoted"


def test_a_run_that_was_cancelled_while_it_lay_still_is_over(config: Config) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    [run] = in_database(config, lambda database: database.runs.newest(1))
    in_database(config, lambda database: database.runs.request_cancel(run.key))
    assert go(config, stand).state == "promoted"  # a new one
    ended = row(config, run.key)
    assert ended is not None
    assert (ended.state, ended.reason) == (
        "cancelled",
        "It was cancelled after it had been broken off.",
    )
    assert stand.resumed == [0, 0]


def test_a_stage_that_never_ends_is_given_up(config: Config) -> None:
    """As after the kernel killed it for its memory, again and again."""
    workspace = None
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(KeyError):
            _killed(config)
    workspace = _left(config)
    assert workspace.read_run().settings["attempts"]["train"] == MOST_ATTEMPTS
    run = go(config)
    assert run.state == "failed"
    assert f"train was begun {MOST_ATTEMPTS} times" in run.reason
    assert go(config).state == "promoted"


def _killed(config: Config) -> None:
    """A run of which nothing is recorded after the training began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.retraining.run._Worker._fail", lambda *_: None)
        go(config, Stand(fails=KeyError("killed")))


def _left(config: Config) -> Workspace:
    [folder] = [entry for entry in config.retraining_dir.iterdir() if entry.is_dir()]
    return Workspace(folder)


# -- what the world does meanwhile -----------------------------------------------------------------


def test_a_run_that_a_restored_database_lost_gets_its_row_back(config: Config) -> None:
    backup = config.database_file.read_bytes()  # closed: all of it is in the file
    finished = go(config)
    say_more(config)
    stand = Signalled(talk="same")
    with pytest.raises(SystemExit):
        go(config, stand)
    for file in config.paths.data.glob(f"{config.database_file.name}*"):
        file.unlink()
    config.database_file.write_bytes(backup)
    assert row(config, finished.key) is None
    run = go(config, stand)
    assert run.state == "rejected"
    back = row(config, finished.key)
    assert back == dataclasses.replace(finished, announced_at=finished.finished_at)
    waiting = in_database(config, lambda database: database.runs.unannounced())
    assert [one.key for one in waiting] == [run.key]  # only what operators do not know


def test_a_row_without_its_folder_has_failed(config: Config) -> None:
    ghost = Run(key="2020-01-01T00-00-00Z", adapter=NAME, stage="train", started_at=1.0)
    in_database(config, lambda database: database.runs.begin(ghost))
    assert go(config).state == "promoted"
    stored = row(config, ghost.key)
    assert stored is not None
    assert stored.state == "failed"
    assert "is gone" in stored.reason


def test_of_another_adapter_it_is_given_up_when_it_has_lain_still_too_long(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `retrain.adapter` was changed: else what people said would be kept for ever."""
    with pytest.raises(SystemExit):
        go(config, Signalled())
    folder = _left(config).folder
    assert (folder / "prepare").is_dir()
    assert go(config, adapter="crew").state == "promoted"
    [old] = in_database(config, lambda database: database.runs.all_unfinished())
    assert old.key == folder.name  # who asks for its adapter within a few days goes on with it
    monkeypatch.setattr(runs_on_disk, "STALE_SECONDS", -1.0)
    go(config, adapter="crew")
    over = row(config, old.key)
    assert over is not None
    assert (over.state, over.reason) == ("failed", runs_on_disk.STALE)
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == []


def test_of_another_adapter_it_is_ended_when_it_was_cancelled(config: Config) -> None:
    with pytest.raises(SystemExit):
        go(config, Signalled())
    [old] = in_database(config, lambda database: database.runs.newest(1))
    in_database(config, lambda database: database.runs.request_cancel(old.key))
    go(config, adapter="crew")
    over = row(config, old.key)
    assert over is not None
    assert over.state == "cancelled"


def _stopped_after_promotion(config: Config) -> Run:
    """A run that promoted its challenger and was stopped before its report."""

    def stopped(*_: Any) -> None:
        raise SystemExit(143)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.retraining.reporting.write", stopped)
        with pytest.raises(SystemExit):
            go(config)
    [run] = in_database(config, lambda database: database.runs.newest(1))
    assert (run.state, run.stage) == ("running", "report")
    assert serving(config) == CHALLENGER
    return run


def test_a_torn_run_file_after_the_promotion_is_made_anew_from_the_row(config: Config) -> None:
    run = _stopped_after_promotion(config)
    file = config.retraining_dir / run.key / "run.json"
    file.write_text(file.read_text()[:50])
    done = go(config)
    assert (done.key, done.state) == (run.key, "promoted")
    assert done.report is not None
    assert row(config, run.key) == done == _left(config).read_run()


@pytest.mark.parametrize("adapter", [NAME, "crew"])
def test_a_promoted_run_whose_folder_is_gone_stays_promoted(config: Config, adapter: str) -> None:
    run = _stopped_after_promotion(config)
    shutil.rmtree(config.retraining_dir / run.key)
    go(config, adapter=adapter)
    over = row(config, run.key)
    assert over is not None
    assert (over.state, over.reason) == ("promoted", run.reason)
    assert over.settings["notes"][-1].startswith("There is no report. It cannot be gone on with")


def test_a_folder_that_nothing_is_known_of_keeps_nothing_that_people_said(config: Config) -> None:
    with pytest.raises(SystemExit):
        go(config, Signalled())
    folder = _left(config).folder
    (folder / "run.json").write_text("{")
    in_database(config, _without_rows)
    assert go(config).state == "promoted"
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == []


async def _without_rows(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute_fetchall("DELETE FROM runs")


def test_another_base_model_begins_anew(config: Config) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    other = Stand(fingerprint="e" * 32, talk="mute")
    run = go(config, other)
    assert run.champion == "base"  # the version in use is for another model
    first = in_database(config, lambda database: database.runs.newest(2))[1]
    assert (first.state, "another model" in first.reason) == ("failed", True)


@pytest.mark.parametrize("jump", [-7200.0, 20 * 365 * 86_400.0])
def test_a_clock_that_jumps(config: Config, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    real = time.time

    class Jumping(Stand):
        def train(self, config: Config, settings: Any, lesson: Lesson) -> None:
            super().train(config, settings, lesson)
            monkeypatch.setattr(time, "time", lambda: real() + jump)

    run = go(config, Jumping())
    assert run.state == "promoted"
    assert all(seconds >= 0 for seconds in run.stage_times.values())
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at
    monkeypatch.setattr(time, "time", real)
    assert go(config).state == "skipped"


def test_two_runs_in_the_same_second_have_two_keys(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)
    keys = [go(config, Stand(talk="same"), force=True).key for _ in range(3)]
    first = "2027-01-15T08-00-00Z"
    assert keys == [first, f"{first}-2", f"{first}-3"]


def test_what_lay_still_too_long_is_not_learnt_from(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Signalled()
    with pytest.raises(SystemExit):
        go(config, stand)
    monkeypatch.setattr(runs_on_disk, "STALE_SECONDS", -1.0)
    assert go(config, stand).state == "promoted"
    assert stand.resumed == [0, 0]


def test_a_locked_database_does_not_end_a_training(config: Config) -> None:
    class Locked(Stand):
        def train(self, config: Config, settings: Any, lesson: Lesson) -> None:
            super().train(config, settings, lesson)
            self.writer = sqlite3.connect(config.database_file, isolation_level=None)
            self.writer.execute("BEGIN IMMEDIATE")

        def play(self, config: Config, suite: Any, rounds: Any) -> None:
            super().play(config, suite, rounds)
            self.writer.rollback()
            self.writer.close()

    quick = config.model_copy(
        update={"database": config.database.model_copy(update={"busy_timeout_seconds": 0.05})}
    )
    run = go(quick, Locked())
    assert run.state == "promoted"
    assert row(config, run.key) == run


def test_only_the_newest_reports_are_kept(tmp_path: Path) -> None:
    config = retraining_config(tmp_path, retrain={"keep_reports": 2})
    publish_champion(config)
    runs = [go(config, Stand(talk="same"), force=True) for _ in range(3)]
    folders = sorted(entry.name for entry in config.retraining_dir.iterdir() if entry.is_dir())
    assert folders == sorted(run.key for run in runs[1:])
    first = row(config, runs[0].key)
    assert first is not None
    assert (first.state, first.report) == ("rejected", None)
    skipped = [go(config) for _ in range(3)]
    folders = sorted(entry.name for entry in config.retraining_dir.iterdir() if entry.is_dir())
    assert folders == sorted(run.key for run in [*runs[1:], *skipped[1:]])


def test_a_run_killed_at_its_end_leaves_nothing_that_people_said(config: Config) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "shrink", lambda *_: None)
        run = go(config)
    folder = config.retraining_dir / run.key
    assert (folder / "prepare").is_dir()
    go(config)
    assert not (folder / "prepare").exists()
    assert (folder / "report").is_dir()
