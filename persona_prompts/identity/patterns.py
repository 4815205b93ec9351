"""`patterns.toml` as compiled patterns; its head explains the notation."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import regex

_FILE = Path(__file__).with_name("patterns.toml")

APOSTROPHES = "'’‘ʼ´`＇"
_APOSTROPHE = f"[{APOSTROPHES}]"
# Scripts without spaces between words have no edges of words either.
_LETTER = r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{M}\p{Nd}_]"
_FIXED = {
    "«gap»": r"(?>(?:[\s*_\"“”‘「『:：—–…-]|\.\.++){1,8})",
    "«start»": r"(?:^|(?<=[.!?…。！？\n*\"“”(「『]\s?))[\s*\"“”‘(「『]{0,3}",
    "«word»": rf"[\p{{L}}\p{{N}}](?:[\p{{L}}\p{{M}}\p{{N}}-]|{_APOSTROPHE}){{0,23}}",
}
_FLAGS = regex.IGNORECASE | regex.MULTILINE

Pattern = regex.Pattern[str]


@cache
def table() -> dict[str, Any]:
    """The file as it stands."""
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


@cache
def compiled(section: str) -> Pattern:
    """Every pattern of `section`, of all languages, as one; for sections without «name»."""
    return _compile(section, {"«model»": _named(table()["names"]["models"], possessor=False)})


@lru_cache(maxsize=256)
def compiled_for(section: str, names: tuple[str, ...]) -> Pattern:
    """The same with `names` (at least one) in the places of «name» and «bare».

    Where a name was found, it is a capture of the group `name`.
    """
    named = {"«name»": _named(names, possessor=False), "«bare»": _named(names, possessor=True)}
    return _compile(section, named)


@lru_cache(maxsize=1024)
def any_of(names: tuple[str, ...]) -> Pattern:
    """Finds any of `names`, whatever stands around it."""
    return regex.compile(_named(names, possessor=True), _FLAGS)


def words_of(section: str, key: str) -> frozenset[str]:
    """A list of words, however it is written down."""
    value = table()[section][key]
    return frozenset(value.split() if isinstance(value, str) else value)


def _compile(section: str, named: dict[str, str]) -> Pattern:
    lines = [
        line
        for patterns in table()[section].values()
        for line in patterns.splitlines()
        if line.strip()
    ]
    return regex.compile("|".join(f"(?:{_expand(line, named)})" for line in lines), _FLAGS)


def _expand(line: str, named: dict[str, str]) -> str:
    text = line.replace("'", _APOSTROPHE)
    # A space that stands for itself in a set of characters stays one.
    text = regex.sub(r"(\[[^\]]*\])| (\??)", _space, text)
    for place, pattern in {**_FIXED, **named}.items():
        text = text.replace(place, pattern)
    return text


def _space(match: regex.Match[str]) -> str:
    if match[1]:
        return match[1].replace(" ", r"\s")
    return r"\s{0,8}" if match[2] else r"\s{1,8}"


def _named(names: Sequence[str], *, possessor: bool) -> str:
    # The longest first: of «Mirela Vex» not only «Mirela» is to be found.
    ordered = sorted(dict.fromkeys(names), key=lambda name: (-len(name), name))
    choice = "|".join(map(_literal, ordered))
    edge = "" if possessor else rf"(?!{_APOSTROPHE}s?\b(?!{_APOSTROPHE})|-{_LETTER})"
    return rf"[\"“”‘*_「『《]{{0,3}}(?P<name>{choice})[\"”*_」』》]{{0,3}}{edge}"


def _literal(name: str) -> str:
    pieces = (_literal_word(word) for word in name.split())
    literal = r"\s{1,8}".join(pieces)
    before = rf"(?<!{_LETTER})" if regex.match(_LETTER, name) else ""
    after = rf"(?!{_LETTER})" if regex.search(f"{_LETTER}$", name) else ""
    return f"{before}{literal}{after}"


def _literal_word(word: str) -> str:
    return "".join(_APOSTROPHE if mark in APOSTROPHES else regex.escape(mark) for mark in word)
