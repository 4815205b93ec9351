"""Macros of character cards: `{{char}}`, `{{random:…}}`, `{{roll:d20}}`, and the rest of card V3.

A text is read once. What a macro yields is never read again, so a user called `{{char}}` stays
that, and macros inside another one's argument (`{{random:{{user}},nobody}}`) are values of it, not
text that is cut at its commas.

Chance depends on nothing but the scene's seed, the text and the place in it: the same scene has
the same prompt turn after turn, which is what lets the engine reuse a prompt's beginning. A caller
who wants fresh dice passes another seed. Without a clock, the macros of time yield nothing.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

import regex

MAX_DEPTH = 8  # macros inside macros
MAX_DICE = 100
MAX_SIDES = 1_000_000

# A run of line breaks is looked at from its first one only: else 16,000 of them take a second.
_TOKEN = regex.compile(
    r"(?<trim>(?<!\n)\n*+\{\{\s*+trim\s*+\}\}\n*+)"
    r"|(?<open>\{\{(?!\{))|(?<close>\}\})|<(?<angled>char|bot|user)>",
    regex.IGNORECASE,
)
_HEAD = regex.compile(r"\s*+(?:(//)|([a-z_]+)\s*?(::|:|(?=\s)|$))", regex.IGNORECASE)
_ROLL = regex.compile(r"(?:(\d{0,3})d)?(\d{1,7})([+-]\d{1,6})?", regex.IGNORECASE)
_COMMA = regex.compile(r"(?<!\\),")
_SILENT = ("//", "comment", "noop", "hidden_key")


@dataclass(frozen=True, slots=True)
class Scene:
    """What macros draw on besides names: a seed, the time of day, how long nobody spoke."""

    seed: int = 0
    now: datetime | None = None
    idle: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """What macros stand for. `matching`: for finding keys in a text, where {{hidden_key}} shows."""

    char: str
    user: str
    original: str = ""
    scene: Scene = Scene()
    matching: bool = False


@dataclass(frozen=True, slots=True)
class _Macro:
    parts: list[str | _Macro]


def fill(text: str, values: Values) -> str:
    """`text` with its macros and <char>, <bot>, <user> replaced, in one pass.

    What is no macro, or one with a senseless argument (`{{roll:maybe}}`), stays as it stands.
    """
    if "{{" not in text and "<" not in text:
        return text
    return _Filling(values, zlib.crc32(text.encode("utf-8", "surrogatepass"))).text(_parse(text))


class _Filling:
    """One text being filled; counts its dice, so that two of them may fall differently."""

    def __init__(self, values: Values, place: int) -> None:
        self._values = values
        self._place = place
        self._thrown: Iterator[int] = count()

    def text(self, parts: list[str | _Macro]) -> str:
        return "".join(part if isinstance(part, str) else self._macro(part) for part in parts)

    def _macro(self, macro: _Macro) -> str:
        first = macro.parts[0] if macro.parts else ""
        head = _HEAD.match(first) if isinstance(first, str) else None
        value = None
        if isinstance(first, str) and head is not None:
            parts = [first[head.end() :], *macro.parts[1:]]
            value = self._value(head[1] or head[2].lower(), head[3] or "", parts)
        return f"{{{{{self.text(macro.parts)}}}}}" if value is None else value

    def _value(self, name: str, separator: str, parts: list[str | _Macro]) -> str | None:
        """What the macro yields; None if there is none of this name and argument."""
        if name == "hidden_key" and self._values.matching:
            return self.text(parts)
        if name in _SILENT:
            return ""
        if name in ("random", "pick"):
            return self._choice(name, separator, parts)
        argument = self.text(parts).strip()
        if name == "roll":
            return self._roll(argument)
        if name == "reverse":
            return "".join(reversed(regex.findall(r"\X", argument)))
        return None if argument else self._plain(name)

    def _plain(self, name: str) -> str | None:
        values, now = self._values, self._values.scene.now
        match name:
            case "char" | "bot":
                return values.char
            case "user":
                return values.user
            case "original":
                return values.original
            case "newline":
                return "\n"
            case "idle_duration":
                return "" if values.scene.idle is None else duration(values.scene.idle)
            case "time" | "isotime":
                return "" if now is None else f"{now:%H:%M}"
            case "date":
                return "" if now is None else f"{now.day} {now:%B %Y}"
            case "isodate":
                return "" if now is None else f"{now:%Y-%m-%d}"
            case "weekday":
                return "" if now is None else f"{now:%A}"
        return None

    def _choice(self, name: str, separator: str, parts: list[str | _Macro]) -> str | None:
        choices = _choices(parts, separator)
        if not separator or not choices:
            return None
        # `pick` falls the same way wherever in the scene it stands; `random` at each place anew.
        literal = "".join(part for part in parts if isinstance(part, str))
        place = literal if name == "pick" else f"{self._place}:{next(self._thrown)}"
        chosen = random.Random(f"{self._values.scene.seed}:{name}:{place}").randrange(len(choices))
        return self.text(choices[chosen]).strip()

    def _roll(self, argument: str) -> str | None:
        wanted = _ROLL.fullmatch(argument)
        if wanted is None:
            return None
        dice, sides, added = int(wanted[1] or 1), int(wanted[2]), int(wanted[3] or 0)
        if not (1 <= dice <= MAX_DICE and 1 <= sides <= MAX_SIDES):
            return None
        rng = random.Random(
            f"{self._values.scene.seed}:roll:{self._place}:{next(self._thrown)}:{argument}"
        )
        return str(sum(rng.randint(1, sides) for _ in range(dice)) + added)


def duration(idle: timedelta) -> str:
    """`idle` in words, in its largest unit: `3 hours`."""
    seconds = max(int(idle.total_seconds()), 0)
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            number = seconds // length
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def _parse(text: str) -> list[str | _Macro]:
    """`text` as pieces of text and macros; braces that close nothing are text."""
    stack: list[list[str | _Macro]] = [[]]
    at = 0
    for token in _TOKEN.finditer(text):
        stack[-1].append(text[at : token.start()])
        at = token.end()
        if token["trim"]:
            continue
        if token["angled"]:
            stack[-1].append(_Macro([token["angled"]]))
        elif token["open"] and len(stack) <= MAX_DEPTH:
            stack.append([])
        elif token["close"] and len(stack) > 1:
            inner = stack.pop()
            stack[-1].append(_Macro(inner))
        else:
            stack[-1].append(token[0])
    stack[-1].append(text[at:])
    while len(stack) > 1:
        unclosed = stack.pop()
        stack[-1] += ["{{", *unclosed]
    return stack[0]


def _choices(parts: list[str | _Macro], separator: str) -> list[list[str | _Macro]]:
    r"""`a,b` or `a::b` as what may be chosen; `\,` is a comma, and macros stay whole."""
    literal = "".join(part for part in parts if isinstance(part, str))
    doubled = separator == "::" and "::" in literal
    choices: list[list[str | _Macro]] = [[]]
    for part in parts:
        if isinstance(part, _Macro):
            choices[-1].append(part)
            continue
        pieces = part.split("::") if doubled else _COMMA.split(part)
        for number, piece in enumerate(pieces):
            if number:
                choices.append([])
            choices[-1].append(piece if doubled else piece.replace("\\,", ","))
    return choices if literal.strip() or len(parts) > 1 else []
