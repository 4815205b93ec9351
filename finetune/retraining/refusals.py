"""Does a reply refuse as an assistant does. The patterns are data: `refusals.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import regex

from persona_prompts.identity.patterns import APOSTROPHES

_FILE = Path(__file__).with_name("refusals.toml")


def refuses(reply: str, card: str = "") -> bool:
    """Whether `reply` is the refusal of an assistant, beyond doubt, in any of the languages.

    A character may decline in words of its own; that is none. One that is a machine by its `card`
    may also decline as a machine.
    """
    if _pattern("refuses").search(reply):
        return True
    return bool(_pattern("as_machine").search(reply)) and not _pattern("machine").search(card)


@cache
def _pattern(section: str) -> regex.Pattern[str]:
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))[section]
    lines = [line for text in table.values() for line in text.splitlines() if line.strip()]
    spaced = (line.replace(" ?", r"\s?").replace(" ", r"\s{1,9}") for line in lines)
    whole = "|".join(f"(?:{line})" for line in spaced).replace("'", f"[{APOSTROPHES}]")
    return regex.compile(whole, regex.IGNORECASE)
