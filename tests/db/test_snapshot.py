"""A copy of the database at one moment."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from db.snapshot import snapshot
from tests.db.conftest import ask, texts


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def overwrite(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


async def test_it_holds_what_was_committed_also_what_stands_in_the_log_only(
    database: Database, channel: Channel, file: Path, tmp_path: Path
) -> None:
    await ask(database, channel, "Before?")
    target = tmp_path / "copy.sqlite3"
    await snapshot(file, target)
    await ask(database, channel, "After?")
    assert names_in(tmp_path) == ["copy.sqlite3", "data"]
    async with await Database.open(target) as copy:
        [same] = await copy.channels.all()
        assert texts(await copy.messages.history(same, limit=9)) == ["Before?"]


async def test_the_bot_goes_on_writing_meanwhile(
    database: Database, channel: Channel, file: Path, tmp_path: Path
) -> None:
    for number in range(50):
        await ask(database, channel, f"{number}: {'word ' * 2000}")
    copying = asyncio.ensure_future(snapshot(file, tmp_path / "copy.sqlite3"))
    written = 0
    while not copying.done():
        await ask(database, channel, "meanwhile")
        written += 1
    await copying
    assert written
    async with await Database.open(tmp_path / "copy.sqlite3") as copy:
        held = texts(await copy.messages.history(channel, limit=10_000))
    assert [text.partition(":")[0] for text in held[:50]] == [str(n) for n in range(50)]


async def test_a_damaged_database_is_not_learnt_from(
    database: Database, channel: Channel, file: Path, tmp_path: Path
) -> None:
    for number in range(200):
        await ask(database, channel, f"{number} {'word ' * 100}")
    await database.close()
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    overwrite(file, 8 * 4096, b"\xa5" * (12 * 4096))
    with pytest.raises(DatabaseError, match="is damaged"):
        await snapshot(file, tmp_path / "copy.sqlite3")


async def test_without_a_database_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no database"):
        await snapshot(tmp_path / "none.sqlite3", tmp_path / "copy.sqlite3")
    assert names_in(tmp_path) == []
