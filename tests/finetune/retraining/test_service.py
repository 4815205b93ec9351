"""The service with stand-ins for the retraining: real processes, real signals, real time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import Config, ScheduleSettings
from db.database import Database
from finetune.errors import InputError
from finetune.retraining.service import LOCK_FILE, RETRAIN, TIMETABLE_FILE, Service
from finetune.retraining.timetable import Entry, plan_of
from tests.conftest import config_in

_FAR = "0 4 29 2 *"  # a leap day: nothing comes by itself during a test

# Notes each start in a file, then does as told.
_STAND_IN = """
import os, signal, sys, time
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]
def leave(*_):
    (folder / "checkpoint").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else leave)
(folder / f"start-{len(list(folder.glob('start-*')))}").write_text(str(os.getpid()))
if what in ("long", "deaf"):
    time.sleep(600)
if what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(what))
"""


@dataclass
class Night:
    """A data folder, and services on it."""

    config: Config
    looks: list[float] = field(default_factory=list)
    look: Callable[[Config], Sequence[str]] | None = None

    @property
    def folder(self) -> Path:
        return self.config.retraining_dir

    def service(self, what: str = "0") -> Service:
        command = [sys.executable, "-c", _STAND_IN, str(self.folder), what]
        return Service(self.config, command, self.look or self._look)

    def _look(self, _: Config) -> Sequence[str]:
        self.looks.append(time.monotonic())
        return ["All is well."]

    @property
    def starts(self) -> int:
        return len(list(self.folder.glob("start-*")))

    def remember(self, due: float, begun: float | None = None) -> None:
        """As an earlier service left it."""
        entry = Entry(plan_of(self.config.schedule), due, begun)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / TIMETABLE_FILE).write_text(json.dumps({RETRAIN: vars(entry)}))

    def remembered(self) -> Entry:
        return Entry(**json.loads((self.folder / TIMETABLE_FILE).read_text())[RETRAIN])

    def serve_until(
        self, service: Service, *conditions: Callable[[], object], number: int = signal.SIGTERM
    ) -> int:
        """Serve here; another thread sends the signal each time that a condition comes true."""
        failed: list[str] = []

        def signals() -> None:
            for condition in conditions:
                deadline = time.monotonic() + 60
                while not condition():
                    if time.monotonic() > deadline:
                        failed.append("nothing happened for a minute")
                        break
                    time.sleep(0.01)
                os.kill(os.getpid(), number)

        thread = threading.Thread(target=signals)
        thread.start()
        code = service.serve()
        thread.join()
        assert not failed
        return code


@pytest.fixture
def night(
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Night:
    monkeypatch.setattr("finetune.retraining.service._WAKE_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    settings = ScheduleSettings(cron=_FAR, time_zone="UTC", jitter_seconds=0, quiet_minutes=0.0)
    return Night(make_config(schedule=settings))


def test_it_retrains_when_it_is_due_and_remembers_the_next_time(night: Night) -> None:
    night.remember(due=time.time() + 0.5)
    assert night.serve_until(night.service(), lambda: night.starts, number=signal.SIGINT) == 0
    entry = night.remembered()
    assert night.starts == 1
    assert entry.due > time.time() + 86_400
    assert len(night.looks) == 1


def test_nothing_is_due_on_the_first_day(night: Night) -> None:
    assert night.serve_until(night.service(), lambda: night.looks) == 0
    assert night.starts == 0
    assert night.remembered().begun is None


def test_three_missed_nights_are_made_up_for_once(night: Night) -> None:
    night.remember(due=time.time() - 3 * 86_400)
    ended = lambda: night.remembered().ended is not None  # noqa: E731
    assert night.serve_until(night.service(), ended) == 0
    assert night.starts == 1
    night.serve_until(night.service(), lambda: len(night.looks) == 2)
    assert night.starts == 1


def test_a_signal_lets_the_training_leave_a_checkpoint_and_the_next_start_goes_on(
    night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    night.remember(due=0.0)
    assert night.serve_until(night.service("long"), lambda: night.starts == 1) == 0
    assert (night.folder / "checkpoint").exists()
    assert night.remembered().begun is not None
    assert "it goes on at the next start" in caplog.text
    ended = lambda: night.remembered().ended is not None  # noqa: E731
    assert night.serve_until(night.service("0"), ended) == 0
    assert night.starts == 2
    assert night.remembered().begun is None


def test_a_second_signal_ends_a_training_that_does_not_listen(night: Night) -> None:
    night.remember(due=0.0)
    service = night.service("deaf")
    told = lambda: service._retraining._told == 1  # noqa: E731
    assert night.serve_until(service, lambda: night.starts == 1, told) == 0
    [pid] = [int(file.read_text()) for file in night.folder.glob("start-*")]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("what", "said"), [("1", "failed with exit code 1"), ("killed", "was killed (-9)")]
)
def test_a_training_that_dies_does_not_take_the_service_with_it(
    night: Night, what: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    night.remember(due=0.0)
    ended = lambda: night.remembered().ended is not None  # noqa: E731
    assert night.serve_until(night.service(what), ended) == 0
    assert said in caplog.text
    assert night.remembered().begun is None  # it is not tried again before its next time
    assert night.starts == 1


def test_a_look_that_fails_is_logged_and_the_service_goes_on(
    night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    def look(_: Config) -> Sequence[str]:
        raise RuntimeError("the log is gone")

    night.look = look
    night.remember(due=time.time() + 0.5)
    assert night.serve_until(night.service(), lambda: night.starts) == 0
    assert "How the new versions do could not be seen." in caplog.text
    assert night.starts == 1


def test_two_services_do_not_work_on_the_same_data(night: Night) -> None:
    refused: list[str] = []

    def second() -> bool:
        if not night.looks:
            return False
        try:
            night.service().once()
        except InputError as error:
            refused.append(str(error))
        return True

    assert night.serve_until(night.service(), second) == 0
    assert refused == [f"Another schedule works on {night.config.paths.data}; stop one of the two."]
    assert night.service().once() == 0  # the lock went with the first one
    assert (night.folder / LOCK_FILE).exists()


def test_once_does_what_is_due_and_nothing_else(night: Night) -> None:
    assert night.service().once() == 0
    assert (night.starts, len(night.looks)) == (0, 1)
    night.remember(due=time.time() - 60)
    assert night.service("1").once() == 1
    assert night.service("1").once() == 0
    assert (night.starts, len(night.looks)) == (1, 3)
    night.remember(due=time.time() + 86_400, begun=time.time())
    assert night.service().once() == 0
    assert night.starts == 2


@pytest.mark.parametrize(("when_busy", "starts"), [("skip", 0), ("run", 1)])
def test_a_night_that_never_is_quiet(
    night: Night, when_busy: str, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = night.config.schedule.model_copy(
        update={"quiet_minutes": 20.0, "patience_hours": 0.0, "when_busy": when_busy}
    )
    night.config = night.config.model_copy(update={"schedule": settings})
    monkeypatch.setattr("finetune.retraining.idle.last_said", lambda _: time.time())
    night.remember(due=time.time() - 60)
    assert night.service().once() == 0
    assert night.starts == starts
    assert night.remembered().begun is None
    assert night.remembered().due > time.time()


def test_stopped_while_people_talk_it_is_due_at_the_next_start(
    night: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = night.config.schedule.model_copy(update={"quiet_minutes": 20.0})
    night.config = night.config.model_copy(update={"schedule": settings})
    monkeypatch.setattr("finetune.retraining.idle.last_said", lambda _: time.time())
    night.remember(due=time.time() - 60)
    assert night.serve_until(night.service(), lambda: "People are talking" in caplog.text) == 0
    assert night.starts == 0
    assert night.remembered().begun is not None


def test_a_clock_that_was_put_back_does_not_put_off_the_next_run(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a day ahead, and with it what the scheduler waits for."""
    service = night.service()
    due = datetime.now(UTC)
    answers = [due + timedelta(days=2)]
    monkeypatch.setattr(service, "_due", lambda: answers.pop() if answers else datetime.now(UTC))
    assert night.serve_until(service, lambda: night.starts) == 0


def test_wrong_settings_are_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for lines, named in (('cron = "at four"', "schedule.cron"), ('time_zone = "Mars"', "Mars")):
        file.write_text(f'[paths]\ndata = "data"\n[schedule]\n{lines}\n', encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "finetune", "schedule", "--once", "--config", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert named in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_what_is_due_runs_the_real_command_and_leaves_its_row(tmp_path: Path) -> None:
    """Nobody has said anything yet, so there is nothing to learn, which the row says."""
    config = config_in(tmp_path / "data")  # the model is unpacked there already
    file = tmp_path / "config.toml"
    file.write_text('[paths]\ndata = "data"\n', encoding="utf-8")

    async def newest() -> tuple[str, str]:
        async with await Database.open(config.database_file) as database:
            runs = await database.runs.newest(1)
            return (runs[0].state, runs[0].settings.get("trigger", "")) if runs else ("", "")

    assert asyncio.run(newest()) == ("", "")
    night = Night(config)
    night.remember(due=time.time() - 60)
    done = subprocess.run(
        [sys.executable, "-m", "finetune", "schedule", "--once", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The next retraining is due at" in done.stderr
    assert asyncio.run(newest()) == ("skipped", "schedule")
