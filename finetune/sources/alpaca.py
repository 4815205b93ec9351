"""Alpaca files: JSON or JSONL rows of `instruction`, `input` (may be left out) and `output`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune.dataset import Example, Turn
from finetune.errors import InputError
from inference.types import Message
from persona_prompts.speakers import well_formed

_REQUIRED = ("instruction", "output")


def read_alpaca(file: Path) -> list[Example]:
    """One example for every row whose output says something.

    Raises `InputError` with the line of what is not JSON, or the row (counted from 1) and key of
    what is missing or no text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no file {file}; check --data_path.") from None
    except IsADirectoryError:
        raise InputError(f"{file} is a folder; --data_path takes a JSON or JSONL file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}); convert it.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from None
    rows = _lines(file, text) if _is_jsonl(file, text) else _list(file, text)
    examples = [_example(file, number, row) for number, row in enumerate(rows, start=1)]
    return [example for example in examples if example.turns[-1].message.content.strip()]


def _is_jsonl(file: Path, text: str) -> bool:
    return file.suffix.lower() in (".jsonl", ".ndjson") or text.lstrip().startswith("{")


def _list(file: Path, text: str) -> list[Any]:
    rows = _parse(file, text, first_line=1)
    if not isinstance(rows, list):
        raise InputError(f"{file} holds {_kind(rows)}; it must hold a list of rows.")
    return rows


def _lines(file: Path, text: str) -> list[Any]:
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    lines = enumerate(text.split("\n"), start=1)
    return [_parse(file, line, number) for number, line in lines if line.strip()]


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
        raise InputError(
            f"{file}, line {first_line}: the JSON holds a number of thousands of digits."
        ) from None


def _example(file: Path, number: int, row: Any) -> Example:
    if not isinstance(row, dict):
        raise InputError(f"{file}, row {number} is {_kind(row)}; it must be an object.")
    for key in _REQUIRED:
        if key not in row:
            raise InputError(f"{file}, row {number} has no key {key!r}.")
    for key in (*_REQUIRED, "input"):
        if not isinstance(row.get(key, ""), str):
            raise InputError(
                f"{file}, row {number}: {key!r} is {_kind(row[key])}; it must be text."
            )
    # JSON can spell lone surrogates.
    parts = (well_formed(row["instruction"]), well_formed(row.get("input", "")))
    question = "\n\n".join(part for part in parts if part.strip())
    return Example(
        (
            Turn(Message(role="user", content=question)),
            Turn(Message(role="assistant", content=well_formed(row["output"])), taught=True),
        )
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
