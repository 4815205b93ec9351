"""One line a record, as text or as JSON, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from bot import logs
from config import LogSettings
from inference.log_lines import FIELDS, OneLineFormatter

TOKEN = "MTE4NDc2MTIzNDU2Nzg5MDEy.GabcDE.abcdefghijklmnopqrstuvwxyz012345678901"


Configured = Callable[[LogSettings], io.StringIO]


@pytest.fixture
def configured() -> Iterator[Configured]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(settings: LogSettings) -> io.StringIO:
        stream = io.StringIO()
        logs.configure(settings, "a-plain-secret", 'quo"ted', stream=stream)
        return stream

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream(configured: Configured) -> io.StringIO:
    return configured(LogSettings(level="DEBUG"))


@pytest.mark.parametrize(
    "text",
    [
        "token a-plain-secret!",
        f"Authorization: Bot {TOKEN}",
        "POST https://discord.com/api/v10/webhooks/123456/aW50ZXJhY3Rpb24tdG9rZW4/messages",
        "/interactions/99/aW50ZXJhY3Rpb24tdG9rZW4/callback",
    ],
)
def test_secrets_are_hidden(stream: io.StringIO, text: str) -> None:
    logging.getLogger("x").warning("%s", text)
    assert logs.HIDDEN in stream.getvalue()
    for secret in ("a-plain-secret", TOKEN, "aW50ZXJhY3Rpb24tdG9rZW4"):
        assert secret not in stream.getvalue()


def test_a_traceback_is_one_line_without_secrets(stream: io.StringIO) -> None:
    try:
        raise RuntimeError(f"cannot use {TOKEN}\nand a-plain-secret")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert "RuntimeError" in written
    assert TOKEN not in written
    assert "a-plain-secret" not in written


def test_a_lost_connection_is_told_without_a_traceback(stream: io.StringIO) -> None:
    try:
        raise ConnectionResetError("the line was cut")
    except ConnectionResetError:
        logging.getLogger("discord.shard").exception(
            "Attempting a reconnect for shard ID %s in %.2fs", 0, 1.5
        )
    written = stream.getvalue()
    assert written.endswith(
        "WARNING discord.shard: Attempting a reconnect for shard ID 0 in 1.50s:"
        " ConnectionResetError: the line was cut\n"
    )


def test_other_failures_of_discord_keep_their_traceback(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("discord.client").exception("Ignoring exception in %s", "on_message")
    assert "Traceback" in stream.getvalue()


def test_a_second_call_replaces_the_first(stream: io.StringIO) -> None:
    second = io.StringIO()
    logs.configure(LogSettings(), stream=second)
    logging.getLogger("x").info("hello")
    assert stream.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_fields_follow_the_words(stream: io.StringIO) -> None:
    fields = {
        "channel": "discord:1",
        "tokens": 12,
        "seconds": 0.25,
        "elicited": False,
        "introduces": True,
        "adapter": None,
        "said": "two words\nand = a-plain-secret",
        "empty": "",
    }
    logging.getLogger("x").info("turn", extra={FIELDS: fields})
    assert stream.getvalue().endswith(
        "INFO x: turn channel=discord:1 tokens=12 seconds=0.25 elicited=no introduces=yes"
        f' adapter=- said="two words\\nand = {logs.HIDDEN}" empty=""\n'
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_ends_a_line_or_moves_a_terminals_cursor(form: str, configured: Configured) -> None:
    stream = configured(LogSettings(format=form))  # type: ignore[arg-type]
    evil = "a\x1b[2Kb\x85c\u2028d\x7fe\x0bf"
    logging.getLogger("x").info("%s", evil, extra={FIELDS: {"said": evil}})
    [line] = stream.getvalue().splitlines()
    assert line.isprintable()
    assert line.count(r"a\u001b[2Kb\u0085c\u2028d\u007fe\u000bf") == 2
    if form == "json":
        assert json.loads(line)["message"] == json.loads(line)["said"] == evil


def test_json_lines_are_objects_with_the_fields_beside_the_words(configured: Configured) -> None:
    stream = configured(LogSettings(format="json"))
    fields = {"channel": "discord:1", "first_token_seconds": 0.25, "said": '안녕\nquo"ted'}
    logging.getLogger("x").info("turn of %s", "a-plain-secret", extra={FIELDS: fields})
    try:
        raise RuntimeError(f"cannot use {TOKEN}\nand a-plain-secret")
    except RuntimeError:
        logging.getLogger("y").exception("failed")
    written = stream.getvalue()
    assert "안녕" in written
    first, second = written.splitlines()
    line = json.loads(first)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "x",
        "message": f"turn of {logs.HIDDEN}",
        "channel": "discord:1",
        "first_token_seconds": 0.25,
        "said": f"안녕\n{logs.HIDDEN}",  # hidden before JSON would have changed its shape
    }
    failed = json.loads(second)
    assert failed["level"] == "ERROR"
    assert failed["traceback"].startswith("Traceback")
    assert "RuntimeError" in failed["traceback"]
    for secret in ("a-plain-secret", TOKEN):
        assert secret not in written


def test_the_worker_writes_the_same_lines() -> None:
    """It has no secrets to hide: `bot.startup` took the token out of the environment."""
    record = logging.LogRecord("inference.worker", logging.INFO, "", 0, "loaded", (), None)
    assert json.loads(OneLineFormatter("json").format(record))["message"] == "loaded"
    assert OneLineFormatter().format(record).endswith("INFO inference.worker: loaded")
