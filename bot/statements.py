"""What people say of themselves and ask to be remembered, word for word.

Only whole sentences are kept, and only of kinds that stay true for a while; a model that is asked
for facts makes some up, a pattern does not. The patterns are data (`statements.toml`).
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import regex

from persona_prompts.identity.sentences import sentences
from persona_prompts.speakers import one_line

MOST = 3  # of one message
LONGEST = 200  # characters

_FILE = Path(__file__).with_name("statements.toml")
_ENDS_OPEN = ("?", "？", "…", "...")


def statements(text: str) -> list[str]:
    """The sentences of `text` that are worth remembering, at most `MOST`, in order."""
    found = []
    for start, end in sentences(text):
        sentence = one_line(text[start:end])
        if len(sentence) <= LONGEST and not sentence.endswith(_ENDS_OPEN) and _matches(sentence):
            found.append(sentence)
    return found[:MOST]


def _matches(sentence: str) -> bool:
    says, but_not = _patterns()
    return says.search(sentence) is not None and but_not.search(sentence) is None


@cache
def _patterns() -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    says, but_not = (
        regex.compile("|".join(f"(?:{line})" for line in _lines(table[name])), regex.IGNORECASE)
        for name in ("says", "but_not")
    )
    return says, but_not


def _lines(languages: dict[str, str]) -> list[str]:
    return [
        line.strip() for text in languages.values() for line in text.splitlines() if line.strip()
    ]
