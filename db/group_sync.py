"""Many commits, one flush to the disk.

SQLite's `synchronous = FULL` flushes the write-ahead log inside every COMMIT, so that a connection
does no more transactions a second than the disk flushes. Here a commit only writes, and whoever
made it waits for a flush that began afterwards; commits made while one is under way share the next
(group commit: DeWitt et al. 1984, "Implementation techniques for main memory database systems").
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class GroupSync:
    """The flushes of one database's write-ahead log. Use it from one event loop."""

    def __init__(self, file: Path) -> None:
        self._log = Path(f"{os.path.realpath(file)}-wal")  # SQLite follows links, too
        # Its own thread: asyncio's are few, and others keep them busy for longer.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def reached(self) -> None:
        """Return once all that was committed before this call would survive a power cut.

        Raises `OSError` if the disk refuses: what was committed then stands in the database, but
        may be gone after a power cut.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._flush_after(self._running))
        await asyncio.shield(self._next)

    async def _flush_after(self, running: asyncio.Task[None] | None) -> None:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None  # who comes from now on needs another one
        await asyncio.get_running_loop().run_in_executor(self._thread, self._flush)

    async def close(self) -> None:
        """Wait for the flush under way; how it ended, those learn who wait for it."""
        while tasks := [t for t in (self._running, self._next) if t is not None and not t.done()]:
            await asyncio.wait(tasks)
        self._thread.shutdown(wait=False)

    def _flush(self) -> None:
        try:
            log = os.open(self._log, os.O_RDWR)
        except FileNotFoundError:
            return  # closed meanwhile: SQLite moved the log into the database, flushed, and left
        try:
            _flush_file(log)
        finally:
            os.close(log)


# The cheaper one leaves out times and the like; not every system has it.
_flush_file: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
