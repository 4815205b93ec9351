"""One line a record, and never a secret."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from bot import logs

TOKEN = "MTE4NDc2MTIzNDU2Nzg5MDEy.GabcDE.abcdefghijklmnopqrstuvwxyz012345678901"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    level = logging.getLogger().level
    logs.configure("DEBUG", "a-plain-secret", stream=stream)
    yield stream
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, logs.OneLineFormatter):
            root.removeHandler(handler)
    root.setLevel(level)


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
    logs.configure("INFO", stream=second)
    logging.getLogger("x").info("hello")
    assert stream.getvalue() == ""
    assert second.getvalue().count("hello") == 1
