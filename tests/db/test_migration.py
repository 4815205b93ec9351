"""Numbered scripts: each once, in order, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from db.migration import APPLICATION_ID, Migration, migrate, read_migrations


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(tmp_path / "test.sqlite3", isolation_level=None) as raw:
        yield raw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_cats.sql").write_text("CREATE TABLE cats (name TEXT);")
    return folder


async def values(raw: aiosqlite.Connection, sql: str) -> list[object]:
    return [row[0] for row in await raw.execute_fetchall(sql)]


async def tables(raw: aiosqlite.Connection) -> list[object]:
    return await values(raw, "SELECT name FROM sqlite_schema ORDER BY name")


async def apply(raw: aiosqlite.Connection, folder: Path) -> None:
    await migrate(raw, folder / "test.sqlite3", read_migrations(folder))


async def test_applies_what_is_missing_and_nothing_twice(
    raw: aiosqlite.Connection, folder: Path
) -> None:
    await apply(raw, folder)
    (folder / "0002_tom.sql").write_text("INSERT INTO cats VALUES ('Tom'); -- the first one\n")
    await apply(raw, folder)
    await apply(raw, folder)
    assert await values(raw, "SELECT name FROM cats") == ["Tom"]
    assert await values(raw, "PRAGMA user_version") == [2]
    assert await values(raw, "PRAGMA application_id") == [APPLICATION_ID]


async def test_a_script_that_fails_half_way_leaves_nothing(
    raw: aiosqlite.Connection, folder: Path
) -> None:
    await apply(raw, folder)
    broken = folder / "0002_dogs.sql"
    broken.write_text("CREATE TABLE dogs (name); INSERT INTO cats VALUES ('Tom'); INSERT nonsense;")
    with pytest.raises(sqlite3.OperationalError):
        await apply(raw, folder)
    assert await tables(raw) == ["cats"]
    assert await values(raw, "SELECT name FROM cats") == []
    assert await values(raw, "PRAGMA user_version") == [1]

    broken.write_text("CREATE TABLE dogs (name);")
    await apply(raw, folder)
    assert await tables(raw) == ["cats", "dogs"]


async def test_earlier_scripts_stay_when_a_later_one_fails(
    raw: aiosqlite.Connection, folder: Path
) -> None:
    (folder / "0002_broken.sql").write_text("nonsense;")
    with pytest.raises(sqlite3.OperationalError):
        await apply(raw, folder)
    assert await tables(raw) == ["cats"]
    assert await values(raw, "PRAGMA user_version") == [1]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("INSERT INTO cats VALUES ('Tom'); COMMIT; CREATE TABLE dogs (name);", "own transaction"),
        ("INSERT INTO cats VALUES ('Tom')", "does not end"),
        (
            "CREATE TABLE kittens (mother INTEGER REFERENCES mothers (id));"
            "CREATE TABLE mothers (id INTEGER PRIMARY KEY); INSERT INTO kittens VALUES (7);",
            "references to rows that do not exist",
        ),
    ],
)
async def test_mistakes_of_a_script_are_named(
    raw: aiosqlite.Connection, folder: Path, script: str, complaint: str
) -> None:
    (folder / "0002_mistake.sql").write_text(script)
    with pytest.raises(ValueError, match=complaint):
        await apply(raw, folder)
    assert await values(raw, "PRAGMA user_version") == [1]
    assert not raw.in_transaction


def test_semicolons_inside_strings_comments_and_triggers_do_not_split(tmp_path: Path) -> None:
    file = tmp_path / "0001_all.sql"
    statements = [
        "CREATE TABLE a (b DEFAULT 'x;y');",
        "\n-- not; here\nCREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; SELECT 1; END;",
    ]
    file.write_text("".join(statements) + "\n-- the end; really\n/* and; this */")
    assert list(Migration(1, file).statements())[:2] == statements


def test_a_gap_in_the_numbers_is_an_error(folder: Path) -> None:
    (folder / "0003_late.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="without gaps"):
        read_migrations(folder)


async def test_the_shipped_scripts_apply(raw: aiosqlite.Connection, tmp_path: Path) -> None:
    await migrate(raw, tmp_path, read_migrations())
    assert {"channels", "messages", "posts"} <= set(await tables(raw))
    assert await values(raw, "PRAGMA integrity_check") == ["ok"]
