"""A retraining in a process of its own that dies, as by kill -9, at one of its steps on the disk.

Each thing that a run does to the disk (a file forced out, renamed, copied, removed; a row written)
is two places to die at: right before it, and right after. Which run that is follows from its
number, so that every one of them can be tried.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config import Config
from db.runs import Runs
from finetune.retraining.run import Order, retrain
from tests.finetune.retraining.light import Stand, write_shortly

_NEVER = 1 << 30


class Deaths:
    """Counts the steps on the disk of this process, and kills it at number `at`."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._inside = False
        self.passed = 0
        self.places: list[str] = []  # what each step was

    def _pass(self, what: str) -> None:
        self.passed += 1
        self.places.append(what)
        if self.passed == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, holder: Any, name: str) -> None:
        """Make calls of `holder.name` places to die at; what they do inside is part of them."""
        real: Callable[..., Any] = getattr(holder, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return real(*arguments, **named)
            what = f"{name} {arguments[0] if arguments else ''}"
            self._pass(f"before {what}")
            self._inside = True
            try:
                return real(*arguments, **named)
            finally:
                self._inside = False
                self._pass(f"after {what}")

        setattr(holder, name, wrapped)

    def around_rows(self) -> None:
        """The same for the row of the run, whose transaction is the step."""
        real = Runs.put

        async def put(runs: Runs, run: Any) -> None:
            self._pass(f"before the row says {run.stage or 'nothing'} {run.state}")
            await real(runs, run)
            self._pass(f"after the row says {run.stage or 'nothing'} {run.state}")

        Runs.put = put  # type: ignore[assignment]


def steps_of(config: Config, stand: Stand) -> list[str]:
    """What the steps on the disk of a whole run are, in their order."""
    file = config.paths.data.parent / "steps.txt"
    assert in_child(config, stand, _NEVER, file) == 0
    return file.read_text().splitlines()


def in_child(config: Config, stand: Stand, at: int, steps: Path | None = None) -> int:
    """Retrain in a forked process that dies at step `at`; returns what `waitpid` says."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return status
    code = 1
    try:
        import finetune.retraining.reporting as reporting

        reporting.write = write_shortly  # type: ignore[assignment]
        deaths = Deaths(at)
        for holder, name in (
            (os, "fsync"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "write_text"),
            (Path, "mkdir"),
            (shutil, "rmtree"),
            (shutil, "copy2"),
        ):
            deaths.around(holder, name)
        deaths.around_rows()
        retrain(config, Order(), say=lambda _: None, means=stand.means(), poll_seconds=60.0)
        if steps is not None:
            with steps.open("w") as stream:
                stream.write("\n".join(deaths.places))
        code = 0
    except BaseException:  # noqa: BLE001  a forked test must not go on as pytest
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)
