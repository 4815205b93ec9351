"""Opening the file, and every way in which that can go wrong, in one sentence each."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db.database import Database, DatabaseError
from db.migration import APPLICATION_ID, read_migrations
from tests.db.conftest import ask

REPOSITORY = Path(__file__).parents[2]

OPEN_AND_PRINT = """
import asyncio, sys
from pathlib import Path
from db.database import Database, DatabaseError
async def main():
    try:
        async with await Database.open(Path(sys.argv[1]), busy_timeout_seconds=20) as database:
            await database.channels.seen("terminal:" + sys.argv[2], guild_key=None, name="",
                                         kind="terminal")
            print("opened")
    except DatabaseError as error:
        print(error)
"""
RUN = "\nasyncio.run(main())"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def said_by(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.strip()


def content_of(file: Path) -> bytes:
    return file.read_bytes()


def overwrite(file: Path, start: int, content: bytes) -> None:
    before = file.read_bytes() if file.exists() else b""
    file.write_bytes(before[:start] + content + before[start + len(content) :])


async def refusal(file: Path) -> str:
    with pytest.raises(DatabaseError) as caught:
        await Database.open(file, busy_timeout_seconds=0.1)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


async def test_creates_folder_and_file_and_keeps_what_was_stored(file: Path) -> None:
    async with await Database.open(file) as database:
        channel = await database.channels.seen(
            "terminal:main", guild_key=None, name="main", kind="terminal"
        )
        said = await ask(database, channel)
    async with await Database.open(file) as database:
        assert await database.channels.all() == [channel]
        assert await database.messages.get(said.id) == said


async def test_settings_of_the_file(database: Database) -> None:
    async with database.transaction() as connection:
        values = {
            name: next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0]
            for name in ("journal_mode", "foreign_keys", "synchronous", "secure_delete")
        }
    assert values == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 1,  # commits are flushed together: test_group_sync.py
        "secure_delete": 1,
    }


async def test_processes_that_open_a_fresh_database_at_once_all_succeed(file: Path) -> None:
    processes = [python(OPEN_AND_PRINT + RUN, str(file), str(number)) for number in range(4)]
    assert [await asyncio.to_thread(said_by, process) for process in processes] == ["opened"] * 4
    async with await Database.open(file) as database:
        assert len(await database.channels.all()) == 4


async def test_connections_that_open_a_fresh_database_at_once_all_succeed(file: Path) -> None:
    databases = await asyncio.gather(*(Database.open(file) for _ in range(8)))
    for database in databases:
        await database.close()


async def test_a_newer_database_is_refused_with_both_numbers(file: Path) -> None:
    await (await Database.open(file)).close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("PRAGMA user_version = 41")
    before = content_of(file)
    sentence = await refusal(file)
    assert "version 41" in sentence
    assert f"up to {len(read_migrations())};" in sentence
    assert content_of(file) == before


async def test_the_database_of_another_program_is_left_alone(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("CREATE TABLE bookmarks (url)")
    before = content_of(file)
    assert "another program" in await refusal(file)
    assert content_of(file) == before


@pytest.mark.parametrize(
    ("application", "version", "sentence"),
    [
        (0, 9999, "another program"),
        (0, -1, "another program"),
        (APPLICATION_ID, -3, "says that its version is -3"),
        (APPLICATION_ID, 0, "says that its version is 0"),
    ],
)
async def test_a_version_that_no_troupe_wrote_is_refused(
    file: Path, application: int, version: int, sentence: str
) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute(f"PRAGMA application_id = {application}")
        raw.execute(f"PRAGMA user_version = {version}")
    before = content_of(file)
    assert sentence in await refusal(file)
    assert content_of(file) == before


async def test_not_a_database(file: Path) -> None:
    file.parent.mkdir()
    overwrite(file, 0, b"persona = 'mirela'\n" * 100)
    assert "is not an SQLite database" in await refusal(file)


async def test_a_damaged_database(file: Path) -> None:
    async with await Database.open(file) as database:
        await database.channels.seen("a:1", guild_key=None, name="a", kind="dm")
    overwrite(file, 100, b"\xee" * (4096 - 100))  # the schema's page, behind an intact header
    assert "is damaged" in await refusal(file)


async def test_the_path_is_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in await refusal(tmp_path)


async def test_a_file_stands_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "paths.data" in await refusal(tmp_path / "data" / "troupe.sqlite3")


async def test_a_folder_name_that_no_disk_takes(tmp_path: Path) -> None:
    assert "paths.data" in await refusal(tmp_path / ("x" * 300) / "troupe.sqlite3")


@pytest.mark.parametrize("begin", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
async def test_locked_at_the_start(file: Path, begin: str) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(begin)
        assert "locked by another program" in await refusal(file)
    await (await Database.open(file)).close()


async def test_locked_later_and_usable_again(database: Database, file: Path) -> None:
    channel = await database.channels.seen("a:1", guild_key=None, name="a", kind="dm")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="locked by another program"):
            await ask(database, channel)
        assert await database.channels.all() == [channel]  # readers do not wait for writers
    await ask(database, channel)
    assert await database.messages.count(channel.id) == 1


async def test_a_lock_that_goes_away_is_waited_for(file: Path) -> None:
    async with await Database.open(file, busy_timeout_seconds=60) as database:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            seen = asyncio.create_task(
                database.channels.seen("a:1", guild_key=None, name="a", kind="dm")
            )
            await asyncio.wait({seen}, timeout=0.05)
            assert not seen.done()
            other.execute("COMMIT")
            assert (await seen).key == "a:1"


# Root may write everything, so as root the process first gives up that capability (capset).
AS_AN_ORDINARY_USER = """
import ctypes, os
if os.getuid() == 0:
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, nothing) == 0
"""


@pytest.fixture
def protected(file: Path) -> Iterator[Callable[[Path], None]]:
    """Takes the write permission from a file or folder, until the test ends."""
    taken: list[Path] = []

    def protect(path: Path) -> None:
        path.chmod(0o444 if path.is_file() else 0o555)
        taken.append(path)

    yield protect
    for path in taken:
        path.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux'")
@pytest.mark.parametrize("what", ["file", "folder"])
async def test_without_write_permission(
    file: Path, what: str, protected: Callable[[Path], None]
) -> None:
    await (await Database.open(file)).close()
    protected(file if what == "file" else file.parent)
    process = python(AS_AN_ORDINARY_USER + OPEN_AND_PRINT + RUN, str(file), "main")
    sentence = await asyncio.to_thread(said_by, process)
    assert sentence.startswith(f"The database {file} cannot be")
    assert "permission" in sentence


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux'")
async def test_a_folder_that_cannot_be_created(
    file: Path, tmp_path: Path, protected: Callable[[Path], None]
) -> None:
    protected(tmp_path)
    process = python(AS_AN_ORDINARY_USER + OPEN_AND_PRINT + RUN, str(file), "main")
    sentence = await asyncio.to_thread(said_by, process)
    assert "(Permission denied); change paths.data" in sentence


async def test_a_full_disk_while_storing_loses_only_what_was_refused(
    database: Database, file: Path
) -> None:
    channel = await database.channels.seen("a:1", guild_key=None, name="a", kind="dm")
    async with database.transaction() as connection:
        await connection.execute_fetchall("PRAGMA max_page_count = 30")  # SQLite's own full disk
    results = await asyncio.gather(
        *(ask(database, channel, "x" * 3000) for _ in range(100)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, DatabaseError)]
    stored = len(results) - len(refused)
    assert 0 < stored < len(results)
    assert "the disk is full; free some space" in str(refused[0])
    assert await database.messages.count(channel.id) == stored
    async with database.transaction() as connection:
        await connection.execute_fetchall("PRAGMA max_page_count = 1000000")
    await ask(database, channel, "x" * 3000)
    assert await database.messages.count(channel.id) == stored + 1


WRITE_UNDER_A_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from db.database import Database, DatabaseError
async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    stored = 0
    try:
        async with await Database.open(Path(sys.argv[1])) as database:
            channel = await database.channels.seen("a:1", guild_key=None, name="", kind="dm")
            while True:
                await database.messages.add_user(channel.id, author_key="u", author_name="U",
                    content="x" * 3000, created_at=1.0, owed=False)
                stored += 1
    except DatabaseError as error:
        print(stored, error)
"""


@pytest.mark.skipif(os.name != "posix", reason="a file size limit is POSIX")
async def test_the_operating_system_refuses_to_grow_the_file(file: Path) -> None:
    process = python(WRITE_UNDER_A_LIMIT + RUN, str(file))
    output = await asyncio.to_thread(said_by, process)
    stored, sentence = output.split(" ", 1)
    assert "check the disk and its quota" in sentence
    assert int(stored) > 0
    async with await Database.open(file) as database:
        [channel] = await database.channels.all()
        assert await database.messages.count(channel.id) == int(stored)


async def test_a_closed_database_says_so(file: Path) -> None:
    database = await Database.open(file)
    await database.close()
    await database.close()
    with pytest.raises(DatabaseError, match="is closed"):
        await database.channels.all()
    with pytest.raises(DatabaseError, match="is closed"):
        await database.channels.seen("a:1", guild_key=None, name="a", kind="dm")
