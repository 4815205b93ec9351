"""Decorators of card V3: lines of an entry's content that begin with `@@` and steer it.

    @@depth 4
    @@@position after_desc      (used where `depth` is not known, or its value makes no sense)
    The lighthouse has been dark since spring.

What Troupe does not know is ignored, and never shown to the model. Not known on purpose: what only
concerns programs without a chat (`instruct_…`, `reverse_depth`), user icons, and `role`, since the
chat formats of many models have no place for a system message in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import regex

Position = Literal["before_char", "after_char", "before_desc", "after_desc", "personality",
                   "scenario"]  # fmt: skip

_LINE = regex.compile(r"^[ \t]*+(@@@?)([A-Za-z_]{1,64})(?:[ \t]++([^\r\n]*+))?[ \t]*+\r?$",
                      regex.MULTILINE)  # fmt: skip
_DECORATED = regex.compile(r"^[ \t]*+@@[^\r\n]*+(?:\r?\n|\Z)", regex.MULTILINE)
_POSITIONS: Mapping[str, Position] = {
    "before_desc": "before_desc", "after_desc": "after_desc", "personality": "personality",
    "scenario": "scenario", "before_char": "before_char", "after_char": "after_char",
}  # fmt: skip
_MOST_KEYS = 64


@dataclass(frozen=True, slots=True)
class Decorators:
    """What an entry's decorators say; None, False or empty where they say nothing.

    `depth` counts messages from the newest, 0 being behind it. `only_after` and `only_every` count
    the character's messages.
    """

    only_after: float | None = None
    only_every: float | None = None
    keep_after_match: bool = False
    not_after_match: bool = False
    depth: int | None = None
    scan_depth: int | None = None
    greeting: int | None = None
    position: Position | None = None
    first_to_go: bool = False
    additional_keys: tuple[str, ...] = ()
    exclude_keys: tuple[str, ...] = ()
    always: bool = False
    never: bool = False


def without_decorators(content: str) -> str:
    """`content` without its decorators and the line breaks around them."""
    if "@@" not in content:
        return content
    return _DECORATED.sub("", content).strip("\r\n")


def read_decorators(content: str) -> Decorators:
    """The decorators in `content`; of several with one name, the first that makes sense counts."""
    found: dict[str, object] = {}
    taken = True  # whether the decorator before a fallback was understood
    for line in _LINE.finditer(content) if "@@" in content else ():
        if line[1] == "@@@" and taken:
            continue
        taken = _take(line[2].lower(), (line[3] or "").strip(), found)
    return Decorators(**found)  # type: ignore[arg-type]  # each value comes from its own reader


def _take(name: str, value: str, found: dict[str, object]) -> bool:
    """Note what a decorator says, unless it was said before; false if it is not understood."""
    if name not in _READERS:
        return False
    field, read = _READERS[name]
    meant = read(value)
    if meant is None:
        return False
    found.setdefault(field, meant)
    return True


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: str) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > 1_000_000 else max(0, int(number))


def _positive(value: str) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _keys(value: str) -> tuple[str, ...] | None:
    keys = tuple(key.strip() for key in value.split(",", _MOST_KEYS)[:_MOST_KEYS])
    return tuple(key for key in keys if key) or None


def _flag(value: str) -> bool | None:
    return None if value.lower() == "false" else True


_READERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "activate_only_after": ("only_after", _number),
    "activate_only_every": ("only_every", _positive),
    "keep_activate_after_match": ("keep_after_match", _flag),
    "dont_activate_after_match": ("not_after_match", _flag),
    "depth": ("depth", _whole),
    "scan_depth": ("scan_depth", _whole),
    "is_greeting": ("greeting", _whole),
    "position": ("position", lambda value: _POSITIONS.get(value.strip('"').lower())),
    "ignore_on_max_context": ("first_to_go", _flag),
    "additional_keys": ("additional_keys", _keys),
    "exclude_keys": ("exclude_keys", _keys),
    "activate": ("always", _flag),
    "dont_activate": ("never", _flag),
}
