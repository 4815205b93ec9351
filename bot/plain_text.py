"""Text from outside, made safe to store, to show and to put into one line."""

from __future__ import annotations

import unicodedata

from bot.errors import CommandError

NAME_LENGTH = 64
NAMELESS = "Someone"
# Format characters that people's names and emoji need: the two joiners.
_JOINERS = "\u200c\u200d"


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined, lone surrogates as U+FFFD, and without NUL."""
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return paired.replace("\0", "")


def single_spaced(text: str) -> str:
    """`text` with every run of whitespace, line breaks included, as one space."""
    return " ".join(text.split())


def display_name(name: str) -> str:
    """A person's name on one line, without control characters; `NAMELESS` if nothing is left."""
    visible = "".join(
        " " if unicodedata.category(mark) in ("Cc", "Zl", "Zp") else mark
        for mark in well_formed(name)
        if unicodedata.category(mark) != "Cf" or mark in _JOINERS
    )
    tidy = single_spaced(visible)[:NAME_LENGTH].strip()
    return tidy if tidy.strip(_JOINERS + " ") else NAMELESS


def within_limit(text: str, longest: int, what: str) -> str:
    """What somebody typed, safe to store; `CommandError` if it is empty or too long."""
    text = well_formed(text).strip()
    if not text:
        raise CommandError(f"{what} needs some words.")
    if len(text) > longest:
        raise CommandError(
            f"{what} can have {longest} characters; this one has {len(text)}, so shorten it."
        )
    return text
