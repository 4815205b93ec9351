"""JSON from strangers: read within limits, and changed without respelling what stays.

`json.loads` alone would do for reading, but not for keeping: `1.50`, `\u00e9` and a number of
thirty digits come back from it as something else. So members are kept as the text they stood as.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import regex

from persona_prompts.errors import CharacterError

MAX_TEXT_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64  # objects and lists inside one another
MAX_TOKENS = 400_000  # strings, brackets and commas
MAX_NUMBER = 400  # characters

_SPACE = regex.compile(r"[ \t\n\r]*+")
_SHAPE = regex.compile(
    rf'"[^"]*+"?|(?<open>[\[{{])|(?<close>[\]}}])|,|(?<long>[-+.0-9eE]{{{MAX_NUMBER},}}+)'
)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Member:
    """One `"key": value` of an object, both as they are spelt in the text."""

    key: str
    value: str

    @classmethod
    def of(cls, key: str, value: object) -> Member:
        """A member that is written anew."""
        return cls(spelt(key), spelt(value))


def spelt(value: object) -> str:
    """`value` as JSON text that UTF-8 can carry: a lone surrogate stays the escape it came as."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def parse(content: bytes, label: str) -> tuple[str, Any]:
    """The JSON in `content` as text and as a value; `label` is its name in sentences.

    Raises `CharacterError` for what is too large, not UTF-8, not JSON (NaN and Infinity are not),
    nested deeper than 64, of more than 400,000 tokens, or has a number of 400 characters.
    """
    if len(content) > MAX_TEXT_BYTES:
        raise CharacterError(
            f"{label} is larger than {MAX_TEXT_BYTES // 1024 // 1024} MiB; shorten it."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CharacterError(f"{label} is not UTF-8 text (byte {error.start}).") from None
    _check_shape(text, label)
    try:
        return text, json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise CharacterError(
            f"{label} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError as error:  # of `_refuse_constant`
        raise CharacterError(f"{label} is not valid JSON: {error}.") from None


def members(text: str) -> dict[str, Member]:
    """The members of the object `text` by key, as spelt; of a key given twice, the last.

    `text` is an object that `parse` accepted, or the spelling of a value in one.
    """
    found: dict[str, Member] = {}
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] != "}":
        key, end = _DECODER.raw_decode(text, at)
        start = _after_space(text, _after_space(text, end) + 1)
        _, stop = _DECODER.raw_decode(text, start)
        found.pop(key, None)
        found[key] = Member(text[at:end], text[start:stop])
        at = _after_space(text, stop)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return found


def elements(text: str) -> list[str]:
    """The elements of the list `text`, as spelt."""
    found: list[str] = []
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] != "]":
        _, stop = _DECODER.raw_decode(text, at)
        found.append(text[at:stop])
        at = _after_space(text, stop)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return found


def object_text(found: Mapping[str, Member], indent: int = 0) -> str:
    """An object of these members, one a line, their keys and values as spelt."""
    if not found:
        return "{}"
    space = " " * indent
    lines = ",\n".join(f"{space}  {member.key}: {member.value}" for member in found.values())
    return f"{{\n{lines}\n{space}}}"


def list_text(found: list[str]) -> str:
    """A list of these elements, as spelt."""
    return f"[{', '.join(found)}]"


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _check_shape(text: str, label: str) -> None:
    depth = 0
    # Without escapes a string ends at the next quote; a pattern that steps over them one by one
    # remembers every step, which a text of nothing but backslashes turns into 250 MiB.
    plain = text.replace("\\\\", "").replace('\\"', "")
    for number, token in enumerate(_SHAPE.finditer(plain), 1):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth > MAX_DEPTH:
            raise CharacterError(
                f"{label} is not usable JSON: nested too deep, past {MAX_DEPTH} levels."
            )
        if token["long"] is not None:
            raise CharacterError(f"{label} is not usable JSON: a number in it is too long.")
        if number > MAX_TOKENS:
            raise CharacterError(
                f"{label} is not usable JSON: too large, with over {MAX_TOKENS} pieces."
            )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number there")
