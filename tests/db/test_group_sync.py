"""What is acknowledged is on the disk, and many commits share one flush."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from db.group_sync import GroupSync
from tests.db.conftest import ask


class SlowDisk:
    """Flushes when it is told to, and knows what the log held when each flush began."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.gate = threading.Event()
        self.began = asyncio.Queue[set[str]]()
        self._loop = asyncio.get_running_loop()

    def flush(self, log: int) -> None:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as raw:
            stored = {text for (text,) in raw.execute("SELECT content FROM messages")}
        self._loop.call_soon_threadsafe(self.began.put_nowait, stored)
        assert self.gate.wait(10)
        self.gate.clear()
        os.fsync(log)


@pytest.fixture
async def disk(
    database: Database, channel: Channel, file: Path, monkeypatch: pytest.MonkeyPatch
) -> SlowDisk:
    slow = SlowDisk(file)
    monkeypatch.setattr("db.group_sync._flush_file", slow.flush)
    return slow


async def stored(database: Database, channel: Channel, count: int) -> None:
    """Until others see that many messages, whether or not they are acknowledged."""
    while await database.messages.count(channel.id) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_commit_returns_after_a_flush_that_began_behind_it(
    database: Database, channel: Channel, disk: SlowDisk
) -> None:
    first = asyncio.create_task(ask(database, channel, "first"))
    assert await disk.began.get() == {"first"}
    second = asyncio.create_task(ask(database, channel, "second"))
    await stored(database, channel, 2)
    disk.gate.set()
    await first
    assert await disk.began.get() == {"first", "second"}
    assert not second.done(), "the flush that ran when it was committed may have missed it"
    disk.gate.set()
    await second


async def test_many_commits_share_a_flush(
    database: Database, channel: Channel, disk: SlowDisk
) -> None:
    writers = [asyncio.create_task(ask(database, channel, f"{number}")) for number in range(30)]
    flushes: list[set[str]] = [await disk.began.get()]
    await stored(database, channel, 30)
    disk.gate.set()
    flushes.append(await disk.began.get())
    disk.gate.set()
    await asyncio.gather(*writers)
    assert len(flushes) == 2
    assert len(flushes[-1]) == 30


async def test_nothing_written_nothing_flushed(
    database: Database, channel: Channel, disk: SlowDisk
) -> None:
    async with asyncio.timeout(5):
        async with database.transaction():
            await database.messages.history(channel, limit=10)
        await database.recall.catch_up()
    assert disk.began.empty()


async def test_a_disk_that_refuses_is_told_to_every_writer(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(log: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("db.group_sync._flush_file", broken)
    done = await asyncio.gather(
        *(ask(database, channel, f"{number}") for number in range(5)), return_exceptions=True
    )
    assert [type(one) for one in done] == [DatabaseError] * 5
    assert "Input/output error" in str(done[0])
    monkeypatch.undo()
    await ask(database, channel, "taken")


async def test_whoever_stops_waiting_takes_the_flush_from_nobody(
    database: Database, channel: Channel, disk: SlowDisk
) -> None:
    first = asyncio.create_task(ask(database, channel, "first"))
    await disk.began.get()
    writers = [asyncio.create_task(ask(database, channel, f"{number}")) for number in range(2)]
    await stored(database, channel, 3)
    writers[0].cancel()
    await asyncio.wait([writers[0]])
    disk.gate.set()
    await first
    await disk.began.get()
    disk.gate.set()
    await writers[1]
    assert writers[0].cancelled()


async def test_a_log_that_is_gone_was_moved_into_the_database(tmp_path: Path) -> None:
    sync = GroupSync(tmp_path / "closed.sqlite3")
    await sync.reached()
    await sync.close()


async def test_the_log_of_a_linked_database_lies_beside_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    linked = tmp_path / "linked.sqlite3"
    linked.symlink_to(file)
    flushed: list[int] = []
    monkeypatch.setattr("db.group_sync._flush_file", flushed.append)
    async with await Database.open(linked) as database:
        await database.channels.seen("terminal:a", guild_key=None, name="a", kind="terminal")
    assert flushed
