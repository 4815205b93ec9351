"""One SQLite connection shared by all coroutines: whose turn it is, and its errors in words."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import aiosqlite

from db.group_sync import GroupSync

Result = TypeVar("Result")

LOG_PATIENCE_MS = 50  # with a process that reads while the write-ahead log is to be emptied
LITTLE_SPACE = 1 << 20  # bytes; with less free, an I/O error is taken for a full disk


class DatabaseError(Exception):
    """The database cannot do what was asked; the message says in a sentence what to change."""


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Turn SQLite's errors about `file` into a `DatabaseError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(explain(file, error)) from error


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without the extension in the upper bits; 0 if SQLite gave none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def explain(file: Path, error: sqlite3.Error) -> str:
    """What `error` means for the person who runs the bot, in one sentence."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_IOERR and _free_space(file) < LITTLE_SPACE:
        code = sqlite3.SQLITE_FULL
    sentences = {
        sqlite3.SQLITE_BUSY: f"The database {file} is locked by another program; close that program"
        " or raise database.busy_timeout_seconds.",
        sqlite3.SQLITE_FULL: f"The database {file} cannot grow because the disk is full; free some"
        " space or move paths.data to another disk.",
        sqlite3.SQLITE_READONLY: f"The database {file} cannot be written; give this user write"
        " permission for the file and its folder, or change paths.data.",
        sqlite3.SQLITE_CANTOPEN: f"The database {file} cannot be opened; check paths.data and the"
        " permissions of the file and its folder.",
        sqlite3.SQLITE_NOTADB: f"{file} is not an SQLite database; move it away or change"
        " database.file.",
        sqlite3.SQLITE_CORRUPT: f"The database {file} is damaged; put a backup in its place or move"
        " it away.",
        sqlite3.SQLITE_IOERR: f"The database {file} cannot be read or written ({error}); check the"
        " disk and its quota, or change paths.data.",
        sqlite3.SQLITE_TOOBIG: f"The text is too long for the database {file}; shorten it.",
    }
    sentences[sqlite3.SQLITE_LOCKED] = sentences[sqlite3.SQLITE_BUSY]
    sentences[sqlite3.SQLITE_PERM] = sentences[sqlite3.SQLITE_READONLY]
    return sentences.get(code, f"The database {file} refused the request: {error}.")


def _free_space(file: Path) -> int:
    """Bytes free on the disk of `file`; plenty if nobody can tell."""
    try:
        return shutil.disk_usage(file.parent).free
    except OSError:
        return LITTLE_SPACE


async def to_the_end(work: Awaitable[Result]) -> Result:
    """Wait for `work` even when cancelled meanwhile; the cancellation is raised afterwards.

    A statement handed to SQLite's thread runs whether or not anybody waits for it, so leaving early
    would only mean not knowing what it did.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: the cancellation says more to the caller
        raise cancelled
    return task.result()


class SerialConnection:
    """Gives coroutines their turns on one connection, so that transactions never mix.

    Reads take turns too: on a shared connection they would see another coroutine's unfinished
    transaction.
    """

    def __init__(self, raw: aiosqlite.Connection, file: Path) -> None:
        self.file = file
        self.log_left = False  # deleted text may still stand in the write-ahead log
        self._raw = raw
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None
        self._closed = False
        self._sync = GroupSync(file)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """BEGIN IMMEDIATE, then commit, or roll back after any error or cancellation.

        Returns once what was written would survive a power cut; meanwhile it is others' turn.

        Inside it the same task may call store methods and open further transactions; those become
        savepoints of this one. Other tasks wait. Raises `DatabaseError`.
        """
        steps = self._savepoint() if self._is_mine() else self._whole_transaction()
        with explained(self.file):
            async with steps:
                yield self._raw

    async def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The result of a query; inside a transaction of this task it sees that transaction."""
        with explained(self.file):
            if self._is_mine():
                return list(await self._raw.execute_fetchall(sql, parameters))
            async with self._turn():
                return list(await self._raw.execute_fetchall(sql, parameters))

    async def load_extension(self, path: str) -> None:
        """Raises `sqlite3.Error`, or `AttributeError` where Python was built without extensions."""
        async with self._turn():
            await self._raw.enable_load_extension(True)
            try:
                await self._raw.load_extension(path)
            finally:
                await self._raw.enable_load_extension(False)

    async def empty_log(self) -> None:
        """Move the write-ahead log into the file and truncate it, unless another process reads.

        Then `log_left` is set, for whoever tries again; it is not waited for long, since everybody
        here would wait, too. Inside a transaction of this task nothing happens: the log is needed
        until it ends.
        """
        if self._is_mine():
            return
        with explained(self.file):
            async with self._turn():
                await to_the_end(self._emptied())

    async def _emptied(self) -> None:
        [patience] = await self._raw.execute_fetchall("PRAGMA busy_timeout")
        await self._raw.execute_fetchall(f"PRAGMA busy_timeout = {LOG_PATIENCE_MS}")
        try:
            [row] = await self._raw.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            self.log_left = bool(row[0])
        finally:
            await self._raw.execute_fetchall(f"PRAGMA busy_timeout = {int(patience[0])}")

    async def close(self) -> None:
        """Wait for the transaction under way, then close; a second call does nothing."""
        async with self._lock:
            if not self._closed:
                self._closed = True
                await to_the_end(self._raw.close())
        await self._sync.close()

    def _is_mine(self) -> bool:
        """Whether the running task is inside a transaction of its own."""
        return self._owner is not None and self._owner is asyncio.current_task()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._lock:
            if self._closed:
                raise DatabaseError(f"The database {self.file} is closed; open it again.")
            self._owner = asyncio.current_task()
            try:
                yield
            finally:
                self._owner = None

    @asynccontextmanager
    async def _whole_transaction(self) -> AsyncIterator[None]:
        async with self._turn():
            try:
                await to_the_end(self._raw.execute_fetchall("BEGIN IMMEDIATE"))
                before = self._raw.total_changes
                yield
                await to_the_end(self._raw.execute_fetchall("COMMIT"))
            except BaseException:
                # Queued behind whatever statement still runs; does nothing without a transaction.
                await to_the_end(self._raw.rollback())
                raise
            wrote = self._raw.total_changes != before
        if wrote:
            await self._durable()

    async def _durable(self) -> None:
        try:
            await self._sync.reached()
        except OSError as error:
            raise DatabaseError(
                f"The disk did not take the database {self.file} ({error.strerror or error});"
                " check the disk, or change paths.data."
            ) from error

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        await to_the_end(self._raw.execute_fetchall("SAVEPOINT inner_step"))
        try:
            yield
        except BaseException:
            if self._raw.in_transaction:  # a full disk rolls everything back by itself
                await to_the_end(self._raw.execute_fetchall("ROLLBACK TO inner_step"))
                await to_the_end(self._raw.execute_fetchall("RELEASE inner_step"))
            raise
        await to_the_end(self._raw.execute_fetchall("RELEASE inner_step"))
