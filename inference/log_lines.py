"""A record of the log as one line: words for people, or a JSON object for programs.

A record may carry named values besides its words: `log.info("turn", extra={FIELDS: {...}})`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

FIELDS = "fields"

# What would end a line somewhere, or tell a terminal to do something.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@+-")


class OneLineFormatter(logging.Formatter):
    """A record, its traceback and its fields included, as one line.

    `redact` is applied to every text of it, before anything in it is quoted.
    """

    def __init__(
        self,
        form: Literal["text", "json"] = "text",
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._form = form
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: self._clean(value) for name, value in _fields(record).items()}
        line = self._as_json if self._form == "json" else self._as_text
        return _CONTROL.sub(lambda mark: f"\\u{ord(mark[0]):04x}", line(record, fields))

    def _as_text(self, record: logging.LogRecord, fields: dict[str, object]) -> str:
        said = self._redact(super().format(record)).replace("\r", "").replace("\n", " ⏎ ")
        return " ".join((said, *(f"{name}={_quoted(value)}" for name, value in fields.items())))

    def _as_json(self, record: logging.LogRecord, fields: dict[str, object]) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self._redact(self.formatException(record.exc_info))
        # Not escaped: a line must stay readable in Chinese, too. Newlines are, in any case.
        return json.dumps({**line, **fields}, ensure_ascii=False, default=str)

    def _clean(self, value: object) -> object:
        return self._redact(value) if isinstance(value, str) else value


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, FIELDS, {})
    return fields


def _quoted(value: object) -> str:
    """`value` as a word: quoted where it would not read as one."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
