"""Logging to stderr: one line a record, and never a secret."""

from __future__ import annotations

import logging
import re
import sys
from functools import partial
from typing import TextIO

from config import LogSettings
from inference.log_lines import OneLineFormatter

HIDDEN = "[hidden]"
# Bot tokens by their shape, and the secrets that stand in webhook and interaction addresses.
_SECRETS = re.compile(
    r"[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}|(?<=/webhooks/)\d+/[\w.-]+|(?<=/interactions/)\d+/[\w.-]+"
)


def redacted(secrets: tuple[str, ...], text: str) -> str:
    """`text` without anything that must not be read by others."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


def short_reconnects(record: logging.LogRecord) -> bool:
    """A lost connection, which discord.py mends by itself, without its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and str(record.msg).startswith("Attempting a reconnect"):
        arguments = record.args if isinstance(record.args, tuple) else ()
        record.msg = f"{record.msg}: %s: %s"
        record.args = (*arguments, type(error).__name__, error)
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def configure(settings: LogSettings, *secrets: str, stream: TextIO | None = None) -> None:
    """Send the records that `settings` ask for to stderr; `secrets` never appear in one."""
    handler = logging.StreamHandler(stream or sys.stderr)
    redact = partial(redacted, tuple(secret for secret in secrets if secret))
    handler.setFormatter(OneLineFormatter(settings.format, redact))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, OneLineFormatter):  # of an earlier call
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level)
    for name in ("discord.client", "discord.shard"):
        logging.getLogger(name).addFilter(short_reconnects)
    # These tell every request and heartbeat; the project's own lines must stay readable.
    for noisy in ("discord", "aiosqlite", "asyncio", "httpx", "filelock"):
        logging.getLogger(noisy).setLevel(max(logging.INFO, root.level))
