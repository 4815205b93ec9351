"""What is kept too long is deleted, while the bot runs."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from bot.privacy_commands import TERMINAL_HISTORY
from bot.turn import Turns
from config import Config
from db.database import Database, DatabaseError

log = logging.getLogger(__name__)

_STEP_SECONDS = 60.0  # between two looks at what is known in passing
_HOUR = 3600.0  # between two looks at the age of what is stored
_POSTS_KNOWN = 30 * 86400.0  # seconds for which posts in passing are told from unknown ones


class Retention:
    """Deletes what is older than `privacy.keep_days`, and forgets what was never to be kept.

    Use it from one event loop. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        turns: Turns,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._database = database
        self._turns = turns
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Delete what an earlier run left in passing, then go on in the background.

        Call it before anything is heard. Raises `DatabaseError`.
        """
        now = self._clock()
        await self._database.unlogged.sweep(
            owed_since=now - self._config.bot.catch_up_hours * _HOUR,
            known_since=now - _POSTS_KNOWN,
        )
        self._task = asyncio.create_task(self._keep_on(), name="retention")

    async def close(self) -> None:
        """Stop; what is not deleted yet is after the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def delete_old(self) -> int:
        """Delete what may not be kept any longer; returns how many messages. `DatabaseError`."""
        oldest = self._config.privacy.oldest(self._clock())
        if oldest is None:
            return 0
        await asyncio.to_thread(_forget_typed, self._config.paths.data / TERMINAL_HISTORY, oldest)
        count = await self._database.retention.forget_before(oldest)
        if count:
            self._turns.memory.forget()  # prompts hold what was said
            log.info(
                "%d messages from more than %g days ago are deleted.",
                count,
                self._config.privacy.keep_days,
            )
        return count

    def forget_passed(self) -> None:
        """Forget talks that were not logged and are over."""
        for channel_id in self._turns.passing.expire():
            self._turns.memory.forget(channel_id)

    async def _keep_on(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.forget_passed()
            await self._tried(
                self._database.retention.finish(), "What was deleted can still be read"
            )
            if loop.time() >= due:
                due = loop.time() + _HOUR
                await self._tried(self.delete_old(), "What is too old stays another hour")
            await asyncio.sleep(_STEP_SECONDS)

    async def _tried(self, work: Awaitable[object], else_: str) -> None:
        """Do `work`; a failure is logged, and the next time is soon enough."""
        try:
            await work
        except DatabaseError as error:
            log.warning("%s: %s", else_, error)
        except Exception:
            log.exception("%s.", else_)


def _forget_typed(file: Path, moment: float) -> None:
    """Take what was typed at the terminal before `moment` out of the file for its arrow keys.

    As prompt_toolkit writes it: a line `# time`, then the typed lines, each behind a `+`.
    """
    try:
        entries = re.split(rb"(?m)^(?=# )", file.read_bytes())
        kept = [entry for entry in entries if _typed_at(entry) >= moment]
        if len(kept) < len(entries):
            staging = file.with_name(f"{file.name}.new")
            staging.write_bytes(b"".join(kept))
            staging.replace(file)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("Old lines stay in %s: %s", file, error.strerror or error)


def _typed_at(entry: bytes) -> float:
    """When an entry was typed, in Unix seconds; long ago, if it does not say."""
    if not entry.strip():
        return math.inf
    try:
        return datetime.fromisoformat(entry[2:].split(b"\n", 1)[0].decode()).timestamp()
    except ValueError:
        return 0.0
