"""`/retrain`: what it says of runs, how it starts one, and that only one is at work at a time."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import config as configuration
from bot import retraining
from bot.answers import Answer
from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import Place
from bot.retraining import LOCK, LOG, RetrainCommands
from config import Config
from db.database import Database
from db.runs import Run
from inference.adapters import AdapterRegistry
from tests.bot.conftest import Scene
from tests.bot.scripted import until
from tests.conftest import REPOSITORY
from tests.inference.bare_adapters import publish_bare

HERE = Place("terminal:main", "main", "terminal")
KEY = "2026-11-21T03-00-00Z"
NOW = 10_000.0

# What stands in the place of Python when a run is started: it does to the lock and the row what
# `python -m finetune retrain` does, and ends when it is told to.
STAND_IN = """\
#!{python}
import fcntl, json, os, signal, sqlite3, sys, time
from pathlib import Path

data = Path({data!r})
facts = [sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid(), os.isatty(0)]
(data / "started.json").write_text(json.dumps(facts))
mode = (data / "mode").read_text()
if mode == "refuses":
    print("Reading.")
    sys.exit("The adapter is named wrongly.")
(data / "retraining").mkdir(exist_ok=True)
lock = open(data / "retraining" / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
ended = mode == "skips"
row = ("{key}", "default", "skipped" if ended else "running", "snapshot", time.time(), time.time(),
       time.time() if ended else None, "Too little is new." if ended else "", os.getpid())
database = sqlite3.connect(data / "troupe.sqlite3", timeout=20)
with database:
    database.execute(
        "INSERT OR REPLACE INTO runs (key, adapter, state, stage, stage_at, started_at,"
        " finished_at, reason, pid, settings, stage_times, data_hash, figures, verdict)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '{{}}', '{{}}', '', '{{}}', '{{}}')", row)
database.close()
while not ended and not (data / "end").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def config(make_config: Callable[..., Config], tmp_path: Path) -> Config:
    made = make_config()
    file = tmp_path / "troupe.toml"
    file.write_text(f"[paths]\ndata = {str(made.paths.data)!r}\n", encoding="utf-8")
    return configuration.load(file)


@pytest.fixture
def start(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets runs be started that behave in a certain way, and ends them after the test."""
    data = config.paths.data.resolve()
    python = data / "python"
    python.write_text(STAND_IN.format(python=sys.executable, data=str(data), key=KEY))
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))

    def behave(mode: str) -> None:
        (data / "mode").write_text(mode)

    yield behave
    (data / "end").touch()


@pytest.fixture
async def database(config: Config) -> AsyncIterator[Database]:
    async with await Database.open(config.database_file) as opened:
        yield opened


@pytest.fixture
def commands(config: Config, database: Database) -> RetrainCommands:
    return RetrainCommands(config, database, clock=lambda: NOW)


@pytest.fixture
def at_work(config: Config) -> Iterator[None]:
    """Meanwhile a run is at work."""
    config.retraining_dir.mkdir(exist_ok=True)
    with (config.retraining_dir / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(**more: object) -> Run:
    fields = {"key": KEY, "adapter": "default", "stage": "train", "started_at": NOW - 4000}
    return Run(**{**fields, "stage_at": NOW - 600, **more})  # type: ignore[arg-type]


async def test_nothing_was_done_yet(commands: RetrainCommands) -> None:
    assert "Nothing was retrained yet" in (await commands.status()).text
    assert "Nothing was retrained yet" in (await commands.history()).text
    with pytest.raises(CommandError, match="No retraining is running"):
        await commands.cancel()


async def test_a_run_at_work(commands: RetrainCommands, database: Database, at_work: None) -> None:
    figures = {
        "champion": {"IIR": {"value": 0.25}, "Recall": {"value": None}},
        "challenger": {"IIR": {"value": 0.0125}, "Recall": {"value": 0.9}, "new": {"value": 1}},
    }
    times = {"snapshot": 0.4, "prepare": 61.0}
    await database.runs.begin(run(stage_times=times, figures=figures))
    assert (await commands.status()).text.splitlines() == [
        f"{KEY} of `default`: train, for 10 min; begun 1 h 6 min ago, 1970-01-01 01:40 UTC.",
        "Done: snapshot 0 s, prepare 1 min.",
        "Champion → challenger: IIR 0.25 → 0.0125, Recall – → 0.9.",
    ]


async def test_a_run_that_was_killed_is_told_from_one_at_work(
    commands: RetrainCommands, database: Database
) -> None:
    await database.runs.begin(run())
    text = (await commands.status()).text
    assert "broken off in train" in text
    assert "The next run goes on with it." in text


async def test_the_last_run_and_the_history(commands: RetrainCommands, database: Database) -> None:
    await database.runs.begin(run(challenger="default@4", champion="default@3"))
    await database.runs.finish(KEY, "rejected", "It forgets its name.", NOW - 7200, report="/r")
    await database.runs.begin(run(key="2026-11-22T03-00-00Z", started_at=NOW - 50))
    await database.runs.finish("2026-11-22T03-00-00Z", "skipped", "x" * 1000, NOW - 40)
    assert "**skipped** 40 s ago. xxx" in (await commands.status()).text
    assert len((await commands.status()).text) < 500
    newest, older = (await commands.history()).text.splitlines()
    assert newest.startswith("· 2026-11-22T03-00-00Z of `default`: **skipped** 40 s ago. xxx")
    assert older == (
        f"· {KEY} of `default`: `default@4` against `default@3`: **rejected** 2 h 0 min ago."
        " It forgets its name."
    )


def two_versions(config: Config) -> AdapterRegistry:
    """`default`, which stands for the first of its two versions."""
    registry = AdapterRegistry(config.adapters_dir)
    for _ in range(2):
        publish_bare(registry, "default", promote=False)
    registry.promote("default", 1)
    return registry


async def test_what_was_taken_back_since_is_told_before_the_row_says_so(
    commands: RetrainCommands, config: Config, database: Database
) -> None:
    registry = two_versions(config)
    registry.promote("default", 2, run=KEY)
    await database.runs.begin(run(state="promoted", challenger="default@2", finished_at=NOW))
    assert (await commands.history()).text.endswith("**promoted** 0 s ago.")
    registry.rollback("default", by="command", reason="rolled back by /adapter rollback")
    said = "**promoted** 0 s ago. It was taken back 0 s ago: rolled back by /adapter rollback."
    assert (await commands.history()).text.endswith(said)
    assert (await commands.status()).text.endswith(said)


async def test_a_trial_that_is_over_is_told_before_the_row_says_so(
    commands: RetrainCommands, config: Config, database: Database
) -> None:
    registry = two_versions(config)
    registry.begin_canary("default", 2, share=0.5, until=time.time() + 60, run=KEY)
    await database.runs.begin(run(state="canary", challenger="default@2", finished_at=NOW))
    assert (await commands.history()).text.endswith("**canary** 0 s ago.")
    registry.end_canary("default")
    assert (await commands.history()).text.endswith("**canary** 0 s ago. Its trial is over.")


async def test_a_clock_that_was_set_back_makes_no_time_negative(
    commands: RetrainCommands, database: Database, at_work: None
) -> None:
    await database.runs.begin(run(started_at=NOW + 500, stage_at=NOW + 600))
    assert "train, for 0 s; begun 0 s ago" in (await commands.status()).text


async def test_cancelling_a_run_at_work(
    commands: RetrainCommands, database: Database, at_work: None
) -> None:
    await database.runs.begin(run())
    assert "ends at its next safe point" in (await commands.cancel()).text
    assert await database.runs.is_cancelled(KEY)
    assert "It was asked to end." in (await commands.status()).text


async def test_cancelling_a_run_that_was_broken_off(
    commands: RetrainCommands, database: Database
) -> None:
    await database.runs.begin(run())
    assert "broken off before" in (await commands.cancel()).text
    assert await database.runs.is_cancelled(KEY)
    text = (await commands.status()).text
    assert "The next run ends it." in text
    assert "goes on with it" not in text


async def test_no_second_run_beside_one_that_the_schedule_started(
    commands: RetrainCommands, database: Database, at_work: None
) -> None:
    await database.runs.begin(run())
    with pytest.raises(CommandError, match="running already"):
        await commands.run()


async def test_a_started_run_is_a_process_of_its_own(
    config: Config, scene: Scene, start: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "")
    start("works")
    said = await _line(scene, "/retrain run pirate force")
    assert said.text == f"{KEY} has begun. /retrain status tells how it goes."
    data = config.paths.data
    arguments, folder, own_session, terminal = json.loads((data / "started.json").read_text())
    assert arguments == [
        "-m", "finetune", "retrain", "--config", str(config.file),
        "--trigger", "command", "--force", "--adapter=pirate",
    ]  # fmt: skip
    assert Path(folder) == REPOSITORY  # where `-m finetune` is found
    assert own_session
    assert not terminal
    assert (config.retraining_dir / LOG).stat().st_mode & 0o077 == 0
    with pytest.raises(CommandError, match="running already"):
        await _line(scene, "/retrain run")
    assert "snapshot, for" in (await _line(scene, "/retrain status")).text
    (data / "end").touch()
    process = scene.behind.commands.retraining._process
    assert process is not None
    await until(lambda: process.poll() is not None)
    assert "broken off" in (await _line(scene, "/retrain status")).text  # it wrote no last word


async def test_a_run_that_is_over_at_once_says_why(
    commands: RetrainCommands, start: Callable[[str], None]
) -> None:
    start("skips")
    said = (await commands.run(trigger="discord")).text
    assert "It is over already" in said
    assert "Too little is new." in said


async def test_no_run_on_settings_that_stand_in_no_file(
    make_config: Callable[..., Config], database: Database
) -> None:
    """It would read the shipped file, and learn from another bot's log."""
    with pytest.raises(CommandError, match="has no file"):
        await RetrainCommands(make_config(), database).run()


async def test_the_real_command_is_understood_and_answers(
    config: Config, commands: RetrainCommands, database: Database
) -> None:
    """With a name that no adapter can have, so that it ends before it loads a model."""
    with pytest.raises(CommandError, match=r"It did not begin: '--fresh' .* name"):
        await commands.run("--fresh", force=True, trigger="discord")
    assert await database.runs.newest(1) == []


async def test_a_run_that_does_not_begin_says_why(
    commands: RetrainCommands, config: Config, start: Callable[[str], None]
) -> None:
    start("refuses")
    with pytest.raises(CommandError, match="It did not begin: The adapter is named wrongly"):
        await commands.run()
    assert (config.retraining_dir / LOG).read_text().startswith("Reading.")
    assert "Nothing was retrained yet" in (await commands.status()).text


async def test_python_that_is_gone_is_one_sentence(
    commands: RetrainCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CommandError, match=r"cannot be started .*No such file"):
        await commands.run()


async def test_a_slow_start_is_answered_all_the_same(
    commands: RetrainCommands,
    config: Config,
    database: Database,
    start: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retraining, "PATIENCE_SECONDS", 0.0)
    start("works")
    assert "It is starting." in (await commands.run()).text
    with pytest.raises(CommandError, match="running already"):
        await commands.run()
    while await database.runs.get(KEY) is None:
        assert (await commands.status()).text == "A retraining is starting."
        await asyncio.sleep(0.02)
    assert "snapshot, for" in (await commands.status()).text


async def test_a_start_that_fails_after_the_answer_is_seen_in_the_status(
    commands: RetrainCommands, start: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "PATIENCE_SECONDS", 0.0)
    start("refuses")
    await commands.run()
    process = commands._process
    assert process is not None
    await until(lambda: process.poll() is not None)
    assert (await commands.status()).text.splitlines() == [
        "The last start failed: The adapter is named wrongly.",
        "Nothing was retrained yet; `/retrain run` does it.",
    ]


async def test_what_was_broken_off_is_gone_on_with(
    commands: RetrainCommands, database: Database, start: Callable[[str], None]
) -> None:
    await database.runs.begin(run(started_at=1.0))
    start("works")  # its row has the same key, and the new process
    said = await commands.run()
    assert (
        said.text == f"{KEY} has begun. It goes on with {KEY}. /retrain status tells how it goes."
    )


def test_a_run_outlives_the_bot_s_loop(config: Config, start: Callable[[str], None]) -> None:
    """asyncio's own subprocess would be killed with it."""
    start("works")

    async def bot() -> int:
        async with await Database.open(config.database_file) as opened:
            commands = RetrainCommands(config, opened)
            await commands.run()
            assert commands._process is not None
            return commands._process.pid

    pid = asyncio.run(bot())
    assert (config.retraining_dir / LOCK).exists()
    assert retraining.is_held(config.retraining_dir / LOCK)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "line",
    ["/retrain", "/retrain now", "/retrain run one two", "/retrain run one two force",
     "/retrain status all"],
)  # fmt: skip
async def test_lines_that_are_no_command(scene: Scene, line: str) -> None:
    with pytest.raises(CommandError, match=r"The command is /retrain status or run \[NAME\]"):
        await _line(scene, line)


async def _line(scene: Scene, line: str) -> Answer:
    return await run_line(scene.behind.commands, HERE, line)
