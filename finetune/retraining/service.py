"""The service that retrains by itself: `python -m finetune schedule`.

APScheduler says when; each retraining is a process of its own, so that its memory goes with it and
its end, however bad, is not the service's.
"""

from __future__ import annotations

import logging
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apscheduler.schedulers.background import (  # type: ignore[import-untyped]
    BackgroundScheduler,
)

from config import Config
from finetune.errors import InputError
from finetune.retraining.idle import wait_for_quiet
from finetune.retraining.timetable import Timetable, plan_of, trigger_of
from inference.gpu_lease import Lease

log = logging.getLogger(__name__)

RETRAIN = "retrain"
LOCK_FILE = "schedule.lock"
TIMETABLE_FILE = "schedule.json"

# The scheduler sleeps by a clock that neither a suspended machine nor a corrected time moves on.
_WAKE_SECONDS = 30.0
_REPOSITORY = Path(__file__).parents[2]

Watch = Callable[[Config], Sequence[str]]


class Retraining:
    """`command` as a process that can be told to stop."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0

    def run(self) -> int:
        """Start the process and wait for its end; its exit code, negative for a signal."""
        with self._lock:
            if self._told:
                return -signal.SIGTERM
            # In a session of its own, so that Ctrl-C reaches it once, through this process.
            self._process = subprocess.Popen(
                self._command, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, start_new_session=True
            )
        code = self._process.wait()
        with self._lock:
            self._process = None
        return code

    def stop(self) -> None:
        """Let it leave a checkpoint and end; told a second time, it ends at once."""
        with self._lock:
            self._told += 1
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM if self._told == 1 else signal.SIGKILL)


class Service:
    """One schedule on one data folder."""

    def __init__(self, config: Config, command: Sequence[str], watch: Watch) -> None:
        """`command` retrains; `watch` looks at how a new version does and says what it did.

        Raises `InputError` for a time that cannot be.
        """
        self._config = config
        self._plan = plan_of(config.schedule)
        self._trigger = trigger_of(config.schedule)
        self._watch_live = watch
        self._retraining = Retraining(command)
        self._timetable = Timetable(config.retraining_dir / TIMETABLE_FILE)
        self._at_work, self._stop = threading.Event(), threading.Event()
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve(self) -> int:
        """Retrain whenever it is due until told to stop; returns the exit code."""
        with self._alone(), self._listening():
            scheduler = BackgroundScheduler(timezone=UTC)
            due = self._due()
            # However late, once for all that were missed, and never two at a time.
            rules: dict[str, Any] = {
                "misfire_grace_time": None,
                "coalesce": True,
                "max_instances": 1,
            }

            def retrain() -> None:
                if job := scheduler.get_job(RETRAIN):  # not if it is being shut down
                    self._retrain(job.next_run_time)

            def tick() -> None:
                job, wanted = scheduler.get_job(RETRAIN), self._due()
                # The clock was put back: what was a day away is now further.
                if not self._at_work.is_set() and job.next_run_time > wanted:
                    scheduler.modify_job(RETRAIN, next_run_time=wanted)
                scheduler.wakeup()

            scheduler.add_job(retrain, self._trigger, id=RETRAIN, next_run_time=due, **rules)
            scheduler.add_job(
                self._watch,
                "interval",
                minutes=self._config.schedule.watch_minutes,
                id="watch",
                next_run_time=_now(),
                **rules,
            )
            log.info("The next retraining is due %s.", _shown(due))
            scheduler.start()
            self._wait(lambda: False, tick)
            log.info("Stopping.")
            ending = threading.Thread(target=scheduler.shutdown, name="ending")
            ending.start()  # waits for what is at work
            self._join(ending)
        return 0

    def once(self) -> int:
        """Do what is due, and return 0, or the exit code of a retraining that failed."""
        with self._alone(), self._listening():
            due = self._due()
            codes: list[int] = []

            def work() -> None:
                self._watch()
                if due <= _now():
                    following: datetime = self._trigger.get_next_fire_time(None, _later(_now()))
                    try:
                        codes.append(self._retrain(following))
                    except OSError:
                        log.exception("The retraining could not be started.")
                        codes.append(1)

            thread = threading.Thread(target=work, name="due")
            thread.start()
            self._wait(lambda: not thread.is_alive(), lambda: None, seconds=0.2)
            self._join(thread)
            log.info("The next retraining is due %s.", _shown(self._timetable.due(RETRAIN)))
        return 0 if self._stop.is_set() else max(codes, default=0)

    # -- jobs ------------------------------------------------------------------------------------

    def _retrain(self, following: datetime) -> int:
        self._at_work.set()
        try:
            return self._retrain_when_quiet(following)
        finally:
            self._at_work.clear()

    def _retrain_when_quiet(self, following: datetime) -> int:
        """One retraining; what is left of it when the service is stopped is due at once next time.

        Returns its exit code, 1 for one that was killed, 0 where there was none.
        """
        self._timetable.begin(RETRAIN, self._plan, following, _now())
        quiet = wait_for_quiet(self._config, log.info, self._stop.wait)
        if quiet == "stopped":
            return 0
        if quiet == "busy":
            hours = self._config.schedule.patience_hours
            skips = self._config.schedule.when_busy == "skip"
            log.info(
                "It was never quiet within %g hours; %s.",
                hours,
                "this retraining is left out" if skips else "retraining all the same",
            )
            if skips:
                self._timetable.end(RETRAIN, _now())
                return 0
        code = self._retraining.run()
        broken_off = code < 0 or code > 128
        if self._stop.is_set() and broken_off:
            log.info("The retraining was stopped; it goes on at the next start.")
            return 0
        self._timetable.end(RETRAIN, _now())
        if broken_off:
            log.error("The retraining was killed (%d); the next one goes on from there.", code)
        elif code:
            log.error("The retraining failed with exit code %d; what it said says why.", code)
        log.info("The next retraining is due %s.", _shown(following))
        return 1 if broken_off else code

    def _watch(self) -> None:
        """Have a look at the versions in use; what goes wrong is for the next look."""
        try:
            for said in self._watch_live(self._config):
                log.info("%s", said)
        except Exception:
            log.exception("How the new versions do could not be seen.")

    # -- the process -----------------------------------------------------------------------------

    def _due(self) -> datetime:
        return self._timetable.next(RETRAIN, self._plan, self._trigger, _now())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No second schedule works on the same data. Raises `InputError`."""
        try:
            lease = Lease(self._config.retraining_dir / LOCK_FILE)
        except OSError as error:
            raise InputError(
                f"{self._config.retraining_dir} cannot be written ({error.strerror or error});"
                " change paths.data or its permissions."
            ) from None
        try:
            if not lease.take():
                raise InputError(
                    f"Another schedule works on {self._config.paths.data}; stop one of the two."
                )
            yield
        finally:
            lease.close()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """SIGTERM and SIGINT are put into the queue, which a handler may do at any moment."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, lambda told, _: self._told.put(told))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait(
        self, done: Callable[[], bool], tick: Callable[[], None], seconds: float = _WAKE_SECONDS
    ) -> None:
        """Return once told to stop, or `done`; `tick` is called every so many seconds."""
        while not done():
            try:
                self._told.get(timeout=seconds)
            except queue.Empty:
                tick()
                continue
            self._stop.set()
            self._retraining.stop()
            return

    def _join(self, thread: threading.Thread) -> None:
        """Wait for `thread`; who is told again meanwhile does not let the retraining end well."""
        while thread.is_alive():
            thread.join(0.2)
            if not self._told.empty():
                self._told.get()
                self._retraining.stop()


def _now() -> datetime:
    return datetime.now(UTC)


def _later(time: datetime) -> datetime:
    return time + timedelta(microseconds=1)


def _shown(due: datetime) -> str:
    """A time for people, by the machine's own clock."""
    return "now" if due <= _now() else due.astimezone().strftime("at %Y-%m-%d %H:%M:%S %Z")
