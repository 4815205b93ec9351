"""JSON and JSONL files, read row by row where the format allows, every fault one sentence.

A list is decoded element by element and JSONL line by line, so that a file much larger than the
memory can be read; a file that is one object has to be read whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from finetune.errors import InputError

MAX_ROW = 32 * 2**20  # characters of one line, or of one element of a list
MAX_OBJECT = 512 * 2**20  # characters of a file that is one object

_CHUNK = 2**16
_SPACE = re.compile(r"[ \t\r\n]*")
# An error this close to the end of what was read may only mean that the rest was not read yet.
_NEAR = 64


def json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Every value of a JSONL file with the number of its line, from 1; empty lines are skipped.

    Raises `InputError` with the line of what is not JSON.
    """
    with _opened(file) as stream:
        number = 0
        while line := stream.readline(MAX_ROW + 1):
            number += 1
            if len(line) > MAX_ROW:
                raise _too_long(file, f"line {number}")
            if line.strip():
                yield number, _parse(file, line, number)


def json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Every row of a list or of a JSONL file with its number, from 1.

    A file that is one object spread over several lines is a single row.
    """
    with _opened(file) as stream:
        first, second = first_marks(stream)
    if first == "[":
        yield from _elements(file)
    elif file.suffix.lower() in (".jsonl", ".ndjson") or second:
        for row, (_, value) in enumerate(json_lines(file), start=1):
            yield row, value
    else:
        value = read_json(file)
        if not isinstance(value, dict):
            raise InputError(f"{file} holds {kind(value)}; it must hold a list of rows.")
        yield 1, value


def first_marks(stream: TextIO) -> tuple[str, bool]:
    """The file's first character that is no space, and whether its first line is a whole value."""
    head = stream.read(_CHUNK)
    start = head.lstrip()
    if not start.startswith("{"):
        return start[:1], False
    line, newline, rest = start.partition("\n")
    if not newline and len(head) == _CHUNK:  # a line so long is a row, or else the whole file
        return "{", _another_line(stream)
    return "{", bool(rest.strip()) and _is_json(line)


def read_json(file: Path) -> Any:
    """The one value of a file."""
    with _opened(file) as stream:
        text = stream.read(MAX_OBJECT + 1)
    if len(text) > MAX_OBJECT:
        raise InputError(
            f"{file} is one JSON object of more than {MAX_OBJECT // 2**20} MiB; split it or write"
            " it as JSONL."
        )
    return _parse(file, text, 1)


def kind(value: object) -> str:
    """What a JSON value is, for a sentence."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")


def text_of(file: Path, row: int, values: dict[str, Any], key: str) -> str:
    """The text under `key` of a row, which must be there."""
    if key not in values:
        raise InputError(f"{file}, row {row} has no key {key!r}.")
    value = values[key]
    if not isinstance(value, str):
        raise InputError(f"{file}, row {row}: {key!r} is {kind(value)}; it must be text.")
    return value


def list_of(file: Path, row: int, values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under `key` of a row, which must be there."""
    if key not in values:
        raise InputError(f"{file}, row {row} has no key {key!r}.")
    value = values[key]
    if not isinstance(value, list):
        raise InputError(f"{file}, row {row}: {key!r} is {kind(value)}; it must be a list.")
    for place, element in enumerate(value, start=1):
        if not isinstance(element, dict):
            raise InputError(
                f"{file}, row {row}: element {place} of {key!r} is {kind(element)}; it must be an"
                " object."
            )
    return value


def object_row(file: Path, row: int, value: Any) -> dict[str, Any]:
    """`value` if it is an object."""
    if not isinstance(value, dict):
        raise InputError(f"{file}, row {row} is {kind(value)}; it must be an object.")
    return value


def _elements(file: Path) -> Iterator[tuple[int, Any]]:
    """The elements of a list, of which no more than one and some are in memory at once."""
    with _opened(file) as stream:
        text = _Text(file, stream)
        text.skip("[")
        row = 0
        if text.peek() == "]":
            text.skip("]")
        else:
            while True:
                row += 1
                yield row, text.value(row)
                if text.peek() != ",":
                    break
                text.skip(",")
            text.skip("]")
        if text.peek():
            raise text.fault("Extra data")


class _Text:
    """A file's text with a place in it, of which only what comes next is held."""

    def __init__(self, file: Path, stream: TextIO) -> None:
        self._file = file
        self._stream = stream
        self._held = ""
        self._at = 0
        self._line = 1
        self._whole = False

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._held, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more(_CHUNK):
                return ""

    def skip(self, mark: str) -> None:
        if self.peek() != mark:
            raise self.fault(f"Expecting {mark!r}")
        self._at += 1

    def value(self, row: int) -> Any:
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                at = self._line_at(error.pos)
                if not self._may_go_on(error) or not self._more(size):
                    raise self.fault(error.msg, at) from None
            except RecursionError:
                raise InputError(
                    f"{self._file}, line {self._line_at(self._at)}: the JSON is nested too deeply."
                ) from None
            except ValueError:
                raise _digits(self._file, f"line {self._line_at(self._at)}") from None
            else:
                # A number at the very end of what was read may be longer.
                if end < len(self._held) or not self._more(size):
                    self._at = end
                    return value
            size *= 2
            if len(self._held) - self._at > MAX_ROW:
                raise _too_long(self._file, f"row {row}")

    def fault(self, reason: str, line: int | None = None) -> InputError:
        line = line or self._line_at(self._at)
        return InputError(f"{self._file}, line {line} is not valid JSON: {reason}.")

    def _line_at(self, place: int) -> int:
        return self._line + self._held.count("\n", 0, place)

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        near = error.pos > len(self._held) - _NEAR
        return not self._whole and (near or error.msg.startswith("Unterminated string"))

    def _more(self, size: int) -> bool:
        new = self._stream.read(size)
        self._whole = not new
        self._line += self._held.count("\n", 0, self._at)
        self._held = self._held[self._at :] + new
        self._at = 0
        return bool(new)


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    try:
        # Only "\n" ends a line: U+2028 and its like may stand inside a JSON string.
        with file.open(encoding="utf-8-sig", newline="\n") as stream:
            yield stream
    except FileNotFoundError:
        raise InputError(f"There is no file {file}; check --data_path.") from None
    except IsADirectoryError:
        raise InputError(f"{file} is a folder; --data_path takes a JSON or JSONL file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); convert it.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from None


def _parse(file: Path, text: str, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(
            f"{file}, line {line}, column {error.colno} is not valid JSON: {error.msg}."
        ) from None
    except RecursionError:
        raise InputError(f"{file}, line {first_line}: the JSON is nested too deeply.") from None
    except ValueError:
        raise _digits(file, f"line {first_line}") from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _another_line(stream: TextIO) -> bool:
    while chunk := stream.read(_CHUNK):
        _, newline, rest = chunk.partition("\n")
        if newline:
            return bool(rest.strip()) or bool(stream.read(_CHUNK).strip())
    return False


def _digits(file: Path, place: str) -> InputError:
    return InputError(f"{file}, {place}: the JSON holds a number of thousands of digits.")


def _too_long(file: Path, place: str) -> InputError:
    return InputError(
        f"{file}, {place} is longer than {MAX_ROW // 2**20} MiB; split it or leave it out."
    )
