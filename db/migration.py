"""Bring a database file up to date: numbered SQL scripts, each applied once, in one transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from db.connection import DatabaseError, to_the_end

FOLDER = Path(__file__).with_name("migrations")
APPLICATION_ID = 0x54525550  # "TRUP" in the file's header marks the file as ours


@dataclass(frozen=True, slots=True)
class Migration:
    version: int  # the database's `user_version` once it is applied
    file: Path

    def statements(self) -> Iterator[str]:
        """The script, one statement at a time.

        `executescript` would be simpler, but it commits what is pending before it starts.
        """
        statement = ""
        for piece in re.split(r"(?<=;)", self.file.read_text(encoding="utf-8")):
            statement += piece
            if sqlite3.complete_statement(statement):
                yield statement
                statement = ""
        if _without_comments(statement).strip():
            raise ValueError(f"The last statement of {self.file} does not end.")


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The scripts `NNNN_what_it_does.sql` of a folder; numbered 1, 2, 3… without a gap."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    migrations = [Migration(int(file.name[:4]), file) for file in files]
    if [migration.version for migration in migrations] != list(range(1, len(files) + 1)):
        raise ValueError(f"The migrations in {folder} are not numbered 0001, 0002, … without gaps.")
    return migrations


async def check(raw: aiosqlite.Connection, file: Path, newest: int) -> None:
    """Refuse, before anything is written, a file that is not ours or newer than `newest`."""
    application_id = await _number(raw, "PRAGMA application_id")
    version = await _number(raw, "PRAGMA user_version")
    if application_id != APPLICATION_ID:
        # A file that is ours but not begun has neither a version nor a table.
        if version or await _number(raw, "SELECT count(*) FROM sqlite_schema"):
            raise DatabaseError(
                f"{file} is the database of another program; move it away or change database.file."
            )
        return
    if version < 1:
        raise DatabaseError(
            f"The database {file} says that its version is {version}, which no Troupe ever wrote;"
            " put a backup in its place or move it away."
        )
    if version > newest:
        raise DatabaseError(
            f"The database {file} has version {version}, but this Troupe knows versions up to"
            f" {newest}; update Troupe or change database.file."
        )


async def migrate(raw: aiosqlite.Connection, file: Path, migrations: list[Migration]) -> None:
    """Apply what is missing. Safe when several processes do it at once.

    The version is read inside the write transaction, so whoever comes second sees that the work is
    done. An up-to-date database is not written, but the write lock is taken once, which finds out
    at the start whether the file can be written at all.
    """
    while True:
        try:
            await to_the_end(raw.execute_fetchall("BEGIN IMMEDIATE"))
            await check(raw, file, newest=len(migrations))
            version = await _number(raw, "PRAGMA user_version")
            if version == len(migrations):
                await to_the_end(raw.rollback())
                return
            await _apply(raw, migrations[version])
            await to_the_end(raw.execute_fetchall("COMMIT"))
        except BaseException:
            await to_the_end(raw.rollback())
            raise


async def _apply(raw: aiosqlite.Connection, migration: Migration) -> None:
    for statement in migration.statements():
        await raw.execute_fetchall(statement)
        if not raw.in_transaction:
            raise ValueError(f"{migration.file} ends its own transaction.")
    if list(await raw.execute_fetchall("PRAGMA foreign_key_check")):
        raise ValueError(f"{migration.file} leaves references to rows that do not exist.")
    await raw.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")
    await raw.execute_fetchall(f"PRAGMA user_version = {migration.version}")


async def _number(raw: aiosqlite.Connection, query: str) -> int:
    [row] = await raw.execute_fetchall(query)
    return int(row[0])


def _without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", sql, flags=re.DOTALL)
