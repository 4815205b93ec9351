"""The command line: exit codes, one sentence for every mistake, and no secret in the log."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import discord
import pytest

from bot.__main__ import main
from db.migration import APPLICATION_ID
from tests.discord_standin import DiscordStandIn

REPOSITORY = Path(__file__).parents[2]
TOKEN = "MTE4NDc2MTIzNDU2Nzg5MDEy.GabcDE.abcdefghijklmnopqrstuvwxyz012345678901"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """The command line, in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for server in (discord.http.Route, discord.gateway.DiscordWebSocket):
        for name in ("BASE", "DEFAULT_GATEWAY"):
            if hasattr(server, name):  # may be changed by the settings, and is put back here
                monkeypatch.setattr(server, name, getattr(server, name))

    def start(*arguments: str, settings: str | None = "", token: str | None = None) -> Done:
        file = tmp_path / "config.toml"
        if settings is not None:
            file.write_text(settings, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("DISCORD_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("DISCORD_TOKEN", token)
        try:
            code = main([*arguments, "--config", str(file)])
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capfd.readouterr())

    yield start
    os.environ.pop("DISCORD_TOKEN", None)
    root.handlers[:] = handlers
    root.setLevel(level)


def refused(done: Done, *said: str) -> None:
    """Exit code 2 and one sentence that says all of `said`, on stderr only."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    sentence = done.stderr.strip()
    assert "\n" not in sentence, sentence
    assert "Traceback" not in sentence
    for words in said:
        assert words in sentence


def test_discord_without_a_token(run: Run) -> None:
    refused(run("discord"), "DISCORD_TOKEN")


def test_a_token_that_is_none(run: Run) -> None:
    refused(run("discord", token="two words"), "DISCORD_TOKEN is not a token")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[bot\n", "not valid TOML"),
        ("[bot]\npersonna = 'x'\n", "bot.personna"),
        ("[bot]\ncatch_up_hours = 'x'\n", "bot.catch_up_hours"),
        ("[bot]\npersona = 'mirella'\n", "did you mean mirela"),
        ("[bot]\nadapter = 'pirate'\n", "There is no adapter 'pirate'"),
        ("[sampling]\ntemperature = 3.0\n", "temperature = 3.0 is not usable"),
    ],
)
def test_settings_that_cannot_be_used(run: Run, settings: str, said: str) -> None:
    refused(run("chat", settings=settings), said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[discord]\nswitch_permission = 'rule'\n", "discord.switch_permission"),
        ("[discord]\napi_url = 'discord.example'\n", "discord.api_url"),
        ("[discord]\ngateway_url = 'http://x'\n", "discord.gateway_url"),
    ],
)
def test_discord_settings_that_cannot_be_used(run: Run, settings: str, said: str) -> None:
    refused(run("discord", settings=settings, token=TOKEN), said)


def test_a_port_for_figures_that_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(run("discord", settings=f"[metrics]\nport = {port}\n", token=TOKEN), "metrics.port")


def test_no_configuration_file(run: Run) -> None:
    refused(run("chat", settings=None), "There is no configuration file")


def test_a_persona_or_adapter_of_the_command_line_that_is_not_there(run: Run) -> None:
    refused(run("chat", "--persona", "nobody"), "There is no character 'nobody'")
    refused(run("chat", "--adapter", "../x"), "is not an adapter's name")

    refused(run("chat", "--adapter", ""), "'' is not an adapter's name")
    refused(run("chat", "--persona", ""), "There is no character ''")


@pytest.mark.parametrize("seed", ["-1", "x", str(2**63), "9" * 5000])
def test_a_seed_that_is_none(run: Run, seed: str) -> None:
    refused(run("chat", "--seed", seed), "whole number")


def test_a_command_that_is_none(run: Run) -> None:
    refused(run("nonsense"), "invalid choice: 'nonsense'", "--help")


def test_a_database_from_a_newer_version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "troupe.sqlite3") as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 9999")
    refused(run("chat"), "9999")


def test_a_foreign_database_of_a_high_version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "troupe.sqlite3") as database:
        database.execute("PRAGMA user_version = 9999")
    refused(run("chat"), "the database of another program")


def test_a_locked_database(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    database = sqlite3.connect(tmp_path / "data" / "troupe.sqlite3")
    database.execute("CREATE TABLE other (x)")
    database.execute("BEGIN EXCLUSIVE")
    done = run("chat", settings="[database]\nbusy_timeout_seconds = 0.1\n")
    database.close()
    refused(done, "troupe.sqlite3")


def test_the_token_comes_from_dot_env_beside_the_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DISCORD_TOKEN='two words'\n", encoding="utf-8")
    refused(run(), "DISCORD_TOKEN is not a token")


def test_the_environment_wins_over_dot_env(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DISCORD_TOKEN='two words'\n", encoding="utf-8")
    done = run(settings="[discord]\napi_url = 'http://127.0.0.1:9/api'\n", token=TOKEN)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_help_says_everything_without_starting_anything(run: Run) -> None:
    done = run("chat", "--help")
    assert done.returncode == 0
    for option in ("--persona", "--adapter", "--channel", "--seed", "--config"):
        assert option in done.stdout


def test_a_discord_that_is_not_there(run: Run) -> None:
    done = run("discord", settings="[discord]\napi_url = 'http://127.0.0.1:9/api'\n", token=TOKEN)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert TOKEN not in done.stderr
    assert "Traceback" not in done.stderr


async def _run_beside(standin: DiscordStandIn, folder: Path, token: str) -> tuple[int | None, str]:
    """The bot's exit code and stderr, while the stand-in goes on serving."""
    settings = folder / "config.toml"
    settings.write_text(
        f"[discord]\napi_url = '{standin.api_url}'\ngateway_url = '{standin.gateway_url}'\n"
        "[model]\nbase = '/nowhere'\n[log]\nlevel = 'DEBUG'\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "discord", "--config", str(settings),
        env={**os.environ, "DISCORD_TOKEN": token, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, stderr.decode()


async def test_a_token_that_discord_does_not_accept(tmp_path: Path) -> None:
    async with DiscordStandIn() as standin:
        code, stderr = await _run_beside(standin, tmp_path, TOKEN)
    assert code == 2
    assert "does not accept the token" in stderr
    assert TOKEN not in stderr
    assert "Traceback" not in stderr


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[model]\nbase = '/nowhere/model'\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "bot", "chat", "--config", str(tmp_path / "config.toml")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "/nowhere/model" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_nobody_foresaw_hides_the_token(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"a bug with {TOKEN}")

    monkeypatch.setattr("bot.client.run_discord", broken)
    done = run("discord", token=TOKEN)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert TOKEN not in done.stderr


async def test_intents_that_are_not_granted(tmp_path: Path) -> None:
    async with DiscordStandIn(token=TOKEN) as standin:
        standin.disallow_intents("message_content")
        code, stderr = await _run_beside(standin, tmp_path, TOKEN)
    assert code == 2
    assert "Message Content Intent" in stderr  # the missing model takes longer to be missed
    assert TOKEN not in stderr
