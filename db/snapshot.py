"""A copy of the whole database as it stood at one moment, while the bot goes on writing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from db.connection import DatabaseError, explained


async def snapshot(source: Path, target: Path, *, busy_timeout_seconds: float = 5.0) -> None:
    """Copy the database `source` to the new file `target` with SQLite's backup interface.

    All pages are copied in one reading transaction, which in write-ahead mode keeps no writer
    waiting. `target` is one file, checked and on the disk when this returns. Raises
    `DatabaseError`.
    """
    await asyncio.to_thread(_copy, source, target, busy_timeout_seconds)


def _copy(source: Path, target: Path, patience: float) -> None:
    if not source.is_file():
        raise DatabaseError(f"There is no database {source} yet; talk with a character first.")
    with explained(source), closing(sqlite3.connect(source, timeout=patience)) as live:
        live.execute("PRAGMA query_only = ON")
        with explained(target), closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # no -wal and -shm beside it
            [(found,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise DatabaseError(
            f"The database {source} is damaged ({found}); put a backup in its place."
        )
    with target.open("rb") as file:
        os.fsync(file.fileno())
