"""The terminal: piped lines through a process of its own, and a conversation at a prompt."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from bot.casting import Overrides
from bot.startup import company
from bot.terminal import Conversation, TerminalStage, talk
from config import Config
from inference.gpu_lease import rehearsal
from tests.bot.scripted import Script, ScriptedClient, until, words

REPOSITORY = Path(__file__).parents[2]
NAME = "Captain Mirela Vex"
PROGRAM = """
import sys
from pathlib import Path
import config
from bot import logs
from bot.casting import Overrides
from bot.terminal import run_terminal
from tests.bot.scripted import Script, ScriptedClient
settings = config.load(sys.argv[1])
logs.configure(settings.log)
client = ScriptedClient(settings.adapters_dir)
client.scripts.extend(eval(sys.argv[2]))
sys.exit(run_terminal(settings, "main", Overrides(), client))
"""


def piped(folder: Path, given: bytes, scripts: str = "[]") -> subprocess.CompletedProcess[bytes]:
    settings = folder / "config.toml"
    settings.write_text("", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(settings), scripts],
        input=given,
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_a_line_in_is_a_line_out_and_nothing_else(tmp_path: Path) -> None:
    done = piped(tmp_path, b"Hello!\n\n  \nWhat do\xff you sell?\n\xed\xa0\x80 odd\nlast one")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        f"{NAME}: You said: Hello!",
        f"{NAME}: You said: What do\ufffd you sell?",
        f"{NAME}: You said: \ufffd\ufffd\ufffd odd",
        f"{NAME}: You said: last one",
    ]


def test_a_reply_of_several_lines_is_one_line(tmp_path: Path) -> None:
    done = piped(tmp_path, b"Sing!\n", "[Script(['La\\n', '\\nla ', ' la'])]")
    assert done.stdout.decode() == f"{NAME}: La la la\n"


def test_commands_are_answered_as_they_are(tmp_path: Path) -> None:
    lines = b"/persona set bramble\nhi\n/settings set temperature 7\n/nonsense\n/quit\nnever\n"
    done = piped(tmp_path, lines)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "Sir Bramble speaks here now.",
        "Sir Bramble: You said: hi",
        "temperature = '7' is not possible; it must be a number, at least 0 and at most 2.",
        "There is no command /nonsense; /help lists them.",
    ]


def test_the_conversation_goes_on_in_the_next_run(tmp_path: Path) -> None:
    piped(tmp_path, b"/persona set bramble\n")
    assert piped(tmp_path, b"hi\n").stdout.decode() == "Sir Bramble: You said: hi\n"


def test_a_line_without_reply_is_told_on_stderr_and_by_the_exit_code(tmp_path: Path) -> None:
    scripts = "[Script([], finish='error', error='The model has ended.')]"
    done = piped(tmp_path, b"one\ntwo\n", scripts)
    assert done.returncode == 1
    assert done.stdout.decode() == f"{NAME}: You said: two\n"
    assert "The model has ended." in done.stderr.decode()


def test_a_reader_who_has_enough_is_no_error(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text("", encoding="utf-8")
    line = f"yes hello | head -50 | {sys.executable} -c '{PROGRAM}' {settings} '[]' | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=False,
    )
    assert done.stdout.decode() == f"{NAME}: You said: hello\n"
    assert b"Traceback" not in done.stderr


def test_a_full_disk_behind_the_replies_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "config.toml"), "[]"],
            input=b"one\ntwo\n",
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert b"The replies cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"])
def test_without_an_input_it_ends_at_once(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    line = f"{sys.executable} -c '{PROGRAM}' {tmp_path / 'config.toml'} '[]' {redirection}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=REPOSITORY, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr


def test_a_line_that_cannot_be_remembered_is_told_on_stderr(tmp_path: Path) -> None:
    piped(tmp_path, b"/status\n")  # makes the database
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "troupe.sqlite3")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON messages"
            " BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        database.commit()
    done = piped(tmp_path, b"hello\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no more" in done.stderr


class Talk:
    """A conversation at a prompt; what is typed is given at once, what is shown is collected."""

    def __init__(self, config: Config, keys: PipeInput) -> None:
        self.client = ScriptedClient(config.adapters_dir)
        self.keys = keys
        self.out = io.StringIO()
        self._config = config

    async def run(self, typed: str) -> str:
        stage = TerminalStage(self.out, live=True)
        self.keys.send_text(typed)
        async with company(self._config, stage, Overrides(), self.client) as behind:
            await behind.load_model()
            with contextlib.redirect_stdout(self.out):
                await talk(behind, Conversation(behind, "main", "Ann"))
        return self.out.getvalue()


@pytest.fixture
def at_prompt(config: Config) -> Iterator[Talk]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield Talk(config, keys)


async def test_a_talk_begins_with_the_greeting(at_prompt: Talk) -> None:
    shown = await at_prompt.run("hello\r/quit\r")
    greeting, reply = (line for line in shown.splitlines() if line.startswith(NAME))
    assert reply == f"{NAME}: You said: hello"
    assert at_prompt.client.requests[0].messages[1].content == greeting.removeprefix(f"{NAME}: ")


async def test_a_talk_that_goes_on_does_not_greet_again(config: Config, at_prompt: Talk) -> None:
    await at_prompt.run("hello\r/quit\r")
    before = len(at_prompt.out.getvalue())
    shown = (await at_prompt.run("again\r/quit\r"))[before:]
    assert [line for line in shown.splitlines() if line.startswith(NAME)] == [
        f"{NAME}: You said: again"
    ]


async def test_a_new_persona_greets_in_a_talk(at_prompt: Talk) -> None:
    shown = await at_prompt.run("/persona set bramble\r/quit\r")
    assert "Sir Bramble speaks here now." in shown
    assert shown.splitlines()[-1].startswith("Sir Bramble: ")


async def test_ctrl_d_ends_a_talk(at_prompt: Talk) -> None:
    await at_prompt.run("\x04")


async def test_ctrl_c_stops_the_reply_and_then_the_talk(at_prompt: Talk) -> None:
    at_prompt.client.scripts.append(words("half a reply", gate=asyncio.Event(), gate_at=2))
    running = asyncio.create_task(at_prompt.run("hello\r"))
    await until(lambda: "half a" in at_prompt.out.getvalue())
    os.kill(os.getpid(), signal.SIGINT)
    await until(lambda: at_prompt.out.getvalue().endswith("half a\n"))
    at_prompt.keys.send_text("\x03")
    async with asyncio.timeout(5):
        await running


async def test_a_reply_that_begins_again_is_shown_again(at_prompt: Talk) -> None:
    at_prompt.client.scripts.append(Script(["Old", "New", " text"], restart_at=1))
    shown = await at_prompt.run("hello\r/quit\r")
    assert shown.endswith(f"{NAME}: Old\n{NAME}: New text\n")


def test_replies_can_be_changed_line_by_line(tmp_path: Path) -> None:
    lines = [
        "hello",
        "/regenerate",
        "/swipe previous",
        "/swipe previous",
        "/continue",
        "/good",
        "/edit Said otherwise.",
        "/say And this.",
        "/undo",
        "/bad",
        "/rewind 1",
        "/undo",
        "/rewind",
    ]
    scripts = '["First.", "Second.", "More."]'
    done = piped(tmp_path, "\n".join(lines).encode(), scripts)
    assert done.stdout.decode().splitlines() == [
        f"{NAME}: First.",
        f"{NAME}: Second.",
        f"{NAME}: First.",
        "Version 1 of 2.",
        "There is no earlier version.",
        f"{NAME}: First. More.",
        "👍 noted.",
        f"{NAME}: Said otherwise.",
        "Edited.",
        f"{NAME}: And this.",
        f"{NAME} has said it.",
        "Taken back: “And this.”",
        "👎 noted.",
        "2 messages are taken back: nothing is remembered from “hello” on.",
        "No character has said anything here yet.",
        "The command is /rewind N.",
    ]
    assert done.returncode == 0


async def test_a_question_that_had_to_wait_counts_as_answered_in_the_end(
    config: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.rehearsing.LOOK_SECONDS", 0.01)
    client, stage = ScriptedClient(config.adapters_dir), TerminalStage(io.StringIO(), live=False)
    client.shares_devices = True
    async with company(config, stage, Overrides(), client) as behind:
        await behind.load_model()
        with rehearsal(config.paths.data, patience_seconds=0):
            await until(lambda: client.rests)
            taking = asyncio.create_task(
                Conversation(behind, "main", "Ann").take("hello", live=False)
            )
            await until(lambda: stage.failed)
            assert "is rehearsing; your message waits" in capsys.readouterr().err
        await taking
    assert not stage.failed
