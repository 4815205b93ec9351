"""The database file: opened, brought up to date, and handed out as one store per concept."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType

import aiosqlite

from db.blocks import Blocks
from db.card_homes import CardHomes
from db.channels import Channels
from db.connection import (
    DatabaseError,
    SerialConnection,
    explained,
    primary_code,
    to_the_end,
)
from db.consent import Consent
from db.direction import Direction
from db.facts import Facts
from db.feedback import Feedback
from db.lore_books import LoreBooks
from db.lore_matches import LoreMatches
from db.messages import Messages
from db.migration import check, migrate, read_migrations
from db.privacy import Privacy
from db.recall import Recall
from db.retention import Retention
from db.rewriting import Rewriting
from db.runs import Runs
from db.speech import Speech
from db.summaries import Summaries
from db.unlogged import Unlogged
from db.vectors import Vectors

__all__ = ["Database", "DatabaseError"]

OLDEST_SQLITE = (3, 37)  # STRICT tables; RETURNING came a little earlier
RETRY_SECONDS = 0.02


class Database:
    """All stores over one file. `async with await Database.open(file) as database: …`"""

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection
        self.channels = Channels(connection)
        self.messages = Messages(connection)
        self.feedback = Feedback(connection)
        self.rewriting = Rewriting(connection)
        self.consent = Consent(connection)
        self.card_homes = CardHomes(connection)
        self.speech = Speech(connection)
        self.summaries = Summaries(connection)
        self.facts = Facts(connection)
        self.recall = Recall(connection)
        self.vectors = Vectors(connection)
        self.direction = Direction(connection)
        self.lore_books = LoreBooks(connection)
        self.lore_matches = LoreMatches(connection)
        self.runs = Runs(connection)
        self.privacy = Privacy(connection)
        self.unlogged = Unlogged(connection)
        self.blocks = Blocks(connection)
        self.retention = Retention(connection)

    @classmethod
    async def open(cls, file: Path, *, busy_timeout_seconds: float = 5.0) -> Database:
        """Open `file`, creating it and its folder where missing, and apply missing migrations.

        Another program's lock is waited for up to `busy_timeout_seconds`, here and in every write.
        Raises `DatabaseError`.
        """
        await asyncio.to_thread(_check_place, file)
        with explained(file):
            raw = await aiosqlite.connect(file, timeout=busy_timeout_seconds, isolation_level=None)
            try:
                await _prepare(raw, file, busy_timeout_seconds)
            except BaseException:
                await to_the_end(raw.close())
                raise
        return cls(SerialConnection(raw, file))

    async def close(self) -> None:
        """Wait for the transaction under way and close the file; a second call does nothing."""
        await self._connection.close()

    def transaction(self) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        """Make the store calls inside it one step: all of them are stored, or none.

        Other tasks wait meanwhile, so nothing slow belongs inside, and awaiting another task that
        itself uses the database would wait for ever.
        """
        return self._connection.transaction()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _check_place(file: Path) -> None:
    """Create the folder of `file`; raise `DatabaseError` where no file can be."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseError(
            f"This Python brings SQLite {sqlite3.sqlite_version}; use one that has SQLite"
            f" {'.'.join(map(str, OLDEST_SQLITE))} or newer."
        )
    try:
        if file.is_dir():
            raise DatabaseError(f"{file} is a folder, not a database; change database.file.")
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"The folder {file.parent} of the database cannot be used"
            f" ({error.strerror or error}); change paths.data or its permissions."
        ) from error


async def _prepare(raw: aiosqlite.Connection, file: Path, patience: float) -> None:
    raw.row_factory = sqlite3.Row
    migrations = await asyncio.to_thread(read_migrations)
    # In a transaction, so that its reads see one state while another process migrates.
    await raw.execute_fetchall("BEGIN")
    await check(raw, file, newest=len(migrations))
    await raw.rollback()
    await _use_write_ahead_log(raw, file, patience)
    # NORMAL does not flush the log at a commit; `SerialConnection` does, once for many commits.
    # Without, kill -9 would lose nothing, but a power cut could take back what was acknowledged,
    # and so make a character answer twice.
    await raw.execute_fetchall("PRAGMA synchronous = NORMAL")
    # Deleted text is overwritten with zeros, not merely unlinked.
    await raw.execute_fetchall("PRAGMA secure_delete = ON")
    # Foreign keys are off until here, so that a migration may rebuild a table.
    await migrate(raw, file, migrations)
    await raw.execute_fetchall("PRAGMA foreign_keys = ON")


async def _use_write_ahead_log(raw: aiosqlite.Connection, file: Path, patience: float) -> None:
    """Switch the journal mode, which fails at once while another process does the same.

    SQLite does not call its busy handler for this step, so the waiting is done here.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            [row] = await raw.execute_fetchall("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or loop.time() >= deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)
    if row[0] != "wal":
        raise DatabaseError(
            f"The disk of {file} does not allow SQLite's write-ahead log (a network drive?);"
            " move paths.data to a local disk."
        )
