"""Numbered scripts: each once, in order, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from db.database import Database
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
    assert {"channels", "messages", "posts", "variants", "votes"} <= set(await tables(raw))
    assert await values(raw, "PRAGMA integrity_check") == ["ok"]


async def test_a_database_of_the_first_version_keeps_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "troupe.sqlite3"
    async with aiosqlite.connect(file, isolation_level=None) as raw:
        await migrate(raw, file, read_migrations()[:1])
        for statement in FIRST_VERSION:
            await raw.execute(statement)
    async with await Database.open(file) as database:
        [tavern, thread] = await database.channels.all()
        assert (tavern.persona, tavern.scene_start, tavern.parent_key) == ("bramble", 2, None)
        scenes = [
            [message.content for message in scene]
            async for scene in database.messages.scenes(tavern.id)
        ]
        assert scenes == [["Hello?", "Ahoy."], ["Back again."]]
        assert await database.messages.newest_post(tavern.id) == 77
        # Nobody was asked before, so nothing may be learnt from.
        assert not await database.consent.trainable(tavern)
        await database.consent.set_server("discord:9", True, by="discord:1")
        assert await database.consent.trainable(tavern)
        assert not await database.consent.trainable(thread)
        await database.feedback.vote(2, voter_key="discord:7", liked=True, created_at=4.0)
        assert await database.feedback.votes(tavern.id) == {2: (1, 0)}
        assert await database.privacy.forget_author("discord:7") == 2
        assert await database.messages.count(tavern.id) == 1
    async with await Database.open(file) as database:  # and once more, as it is now
        assert await database.consent.server("discord:9") is True


FIRST_VERSION = (
    """INSERT INTO channels (key, guild_key, name, kind, persona, scene_start, heard_up_to)
       VALUES ('discord:1', 'discord:9', 'tavern', 'guild', 'bramble', 2, 77)""",
    """INSERT INTO channels (key, guild_key, name, kind)
       VALUES ('discord:2', 'discord:9', 'old thread', 'thread')""",
    """INSERT INTO messages (channel_id, role, author_key, author_name, content, created_at)
       VALUES (1, 'user', 'discord:7', 'Ann', 'Hello?', 1.0)""",
    """INSERT INTO messages (channel_id, role, author_key, author_name, content, created_at,
                             persona, answers, reply_to)
       VALUES (1, 'character', 'persona:mirela', 'Mirela', 'Ahoy.', 2.0, 'mirela', 1, 1)""",
    """INSERT INTO messages (channel_id, role, author_key, author_name, content, created_at)
       VALUES (1, 'user', 'discord:7', 'Ann', 'Back again.', 3.0)""",
    "INSERT INTO posts (post_id, message_id, position) VALUES (77, 3, 0)",
)
