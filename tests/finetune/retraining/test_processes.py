"""`python -m finetune retrain` as a process of its own, on a real model, stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import load
from db.database import Database
from db.runs import Run
from inference.adapters import AdapterRegistry
from tests.conftest import REPOSITORY
from tests.finetune.conftest import MakePlace, Place, environment

pytestmark = pytest.mark.slow

SECONDS = 900.0
SETTINGS = """
[finetune]
num_epochs = 6.0
save_steps = 1
[retrain]
adapter = "cast"
min_new_replies = 5
own_replay = false
suite = "{suite}"
[gate]
min_turns = 4
[sampling]
max_new_tokens = 12
[schedule]
niceness = 0
"""
SCRIPT = {
    "id": "lamplighter",
    "name": "Hesper Quill",
    "aliases": ["Hesper"],
    "persona": "Hesper Quill lights the lamps of the town.",
    "user_turns": ["Evening.", "Is it late?", "What is your name?", "And the weather?", "Good."],
}


@pytest.fixture
def place(make_place: MakePlace, tmp_path: Path) -> Place:
    made = make_place()
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps(SCRIPT) + "\n", encoding="utf-8")
    with made.file.open("a", encoding="utf-8") as stream:
        stream.write(SETTINGS.format(suite=suite))
    made.log()
    return made


def started(place: Place, log: Path) -> subprocess.Popen[bytes]:
    command = [*place.command()[:3], "retrain", "--config", str(place.file), "--json"]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), stdout=stream, stderr=stream
        )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.01)


def rows(place: Place) -> list[Run]:
    async def read() -> list[Run]:
        config = load(place.file)
        async with await Database.open(config.database_file) as database:
            return await database.runs.newest(9)

    return asyncio.run(read())


def test_stopped_in_training_killed_in_training_and_while_playing(
    place: Place, tmp_path: Path
) -> None:
    config = load(place.file)
    runs = config.retraining_dir
    log = tmp_path / "retrain.log"

    def checkpoints() -> set[str]:
        found = runs.glob("*/.train/adapter/checkpoints/*/checkpoint-*/training.json")
        return {file.parent.name for file in found}

    def is_played() -> bool:
        return any(runs.glob("*/.evaluate/champion-0.jsonl"))

    process = started(place, log)
    wait_for(lambda: bool(checkpoints()), process, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 128 + signal.SIGTERM, log.read_text()
    assert "goes on from there" in log.read_text()
    [run] = rows(place)
    assert (run.state, run.stage) == ("running", "train")
    stopped_at = checkpoints()

    process = started(place, log)
    wait_for(lambda: not checkpoints() <= stopped_at, process, log)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    assert "Resuming" in log.read_text()

    process = started(place, log)
    wait_for(is_played, process, log)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    registry = AdapterRegistry(config.adapters_dir)
    assert registry.versions("cast") == [1]
    assert registry.promoted("cast") is None  # the base goes on serving

    process = started(place, log)
    assert process.wait(SECONDS) == 0, log.read_text(errors="replace")
    [done] = rows(place)
    assert done.key == run.key
    assert done.state in ("promoted", "rejected"), done.reason
    assert done.challenger == "cast@1"
    assert registry.versions("cast") == [1]
    assert registry.promoted("cast") == (1 if done.state == "promoted" else None)
    assert done.report is not None
    assert (Path(done.report) / "index.html").is_file()
