"""`kill -9` in the middle of writing loses nothing that was acknowledged, and leaves no halves."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from db.database import Database
from tests.db.conftest import begin

REPOSITORY = Path(__file__).parents[2]


def start_writer(file: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.db.crash_writer", str(file), name],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(process: subprocess.Popen[str], lines: int) -> list[tuple[str, int]]:
    """Kill a writer that goes on writing; returns all that it said was stored."""
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()  # SIGKILL
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    said = [line for line in said if line.endswith("\n")]  # the last one may be cut off
    assert len(said) >= lines
    return [(word, int(number)) for word, number in (line.split() for line in said)]


@pytest.mark.parametrize("lines", [1, 20, 121])
async def test_killed_writers_lose_nothing(file: Path, lines: int) -> None:
    writers = [start_writer(file, name) for name in ("a", "b")]
    said = [
        line
        for killed in await asyncio.gather(
            *(asyncio.to_thread(kill_after, writer, lines) for writer in writers)
        )
        for line in killed
    ]
    async with await Database.open(file) as database:
        for word, message_id in said:
            message = await database.messages.get(message_id)
            assert message is not None
            assert message.content.endswith("x" * 500)
            if word == "finished":
                assert message.state == "complete"
        for channel in await database.channels.all():
            for message in await database.messages.history(channel, limit=10_000):
                if message.role == "character":
                    assert message.reply_to is not None
                    question = await database.messages.get(message.reply_to)
                    assert question is not None
                    complete = message.state == "complete"
                    assert complete == (question.answer == "answered")
            owed = await database.messages.owed(channel.id, since=0)
            assert len(owed) <= 1
            for question in owed:  # goes on with what the dead process had shown
                reply = await begin(database, channel, question.id)
                assert reply.content in ("", question.content)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
