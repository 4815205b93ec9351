"""Waiting for an hour in which nobody talks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from config import Config
from db.database import Database, DatabaseError

Say = Callable[[str], None]
Quiet = Literal["quiet", "busy", "stopped"]

_LOOK_SECONDS = 60.0


def last_said(config: Config) -> float | None:
    """When anybody last said something, in Unix seconds; None if there is no database yet.

    Raises `DatabaseError`.
    """
    if not config.database_file.is_file():  # opening it would begin one
        return None

    async def read() -> float | None:
        async with await Database.open(
            config.database_file, busy_timeout_seconds=config.database.busy_timeout_seconds
        ) as database:
            return await database.speech.last_at()

    return asyncio.run(read())


def wait_for_quiet(
    config: Config,
    say: Say,
    pause: Callable[[float], bool],
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Quiet:
    """Return once nothing was said for `schedule.quiet_minutes`, or patience ends.

    `pause` waits so many seconds and says whether to stop waiting. `busy`: it was not quiet within
    `schedule.patience_hours`. A database that cannot be read is taken for a talkative one: it is
    asked again, and what else is wrong with it the run will say. What was said in the future, as
    after the clock was put back, counts as said now.
    """
    quiet = config.schedule.quiet_minutes * 60
    deadline = monotonic() + config.schedule.patience_hours * 3600
    told = False
    while True:
        wait = _still_to_wait(config, say, quiet, clock())
        if wait <= 0:
            return "quiet"
        left = deadline - monotonic()
        if left <= 0:
            return "busy"
        if not told:
            told = True
            say("People are talking; the training waits until they pause.")
        if pause(min(wait, left, _LOOK_SECONDS)):
            return "stopped"


def _still_to_wait(config: Config, say: Say, quiet: float, now: float) -> float:
    """Seconds until it will have been quiet for `quiet` seconds, if nobody speaks again."""
    if not quiet:
        return 0.0
    try:
        last = last_said(config)
    except DatabaseError as error:
        say(f"It cannot be seen whether people talk: {error}")
        return _LOOK_SECONDS
    return 0.0 if last is None else quiet - max(now - last, 0.0)
