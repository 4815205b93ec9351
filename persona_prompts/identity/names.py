"""By which names a character may call itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import regex

from persona_prompts.identity.patterns import words_of

_HAN = regex.compile(r"\p{Han}{3,4}")
_HANGUL = regex.compile(r"\p{Hangul}{3}")
_SHORTEST_PART = 3  # characters; "Li" or "Bo" alone is too easily something else


def names_of(names: Sequence[str]) -> tuple[str, ...]:
    """Every name that `names` (a character's name and aliases) make it answer to.

    Of `Captain Mirela Vex` these are also `Mirela Vex`, `Mirela`, `Captain Mirela` and
    `Captain Vex`; of `Bramble the Hedgehog` also `Bramble`; of the Chinese 林晓月 and the Korean
    김서윤 also what stands behind the family name. What is given comes first, in its order.
    """
    return _names_of(tuple(" ".join(name.split()) for name in names))


@lru_cache(maxsize=1024)
def _names_of(names: tuple[str, ...]) -> tuple[str, ...]:
    given = [name for name in names if any(map(str.isalnum, name))]
    parts = [part for name in given for part in _parts(name)]
    return tuple(dict.fromkeys((*given, *parts)))


def _parts(name: str) -> Iterator[str]:
    if _HAN.fullmatch(name) or _HANGUL.fullmatch(name):
        yield name[-2:]
        return
    words = name.replace(",", " ").split()
    titles = words_of("names", "titles")
    at = 0
    while at < len(words) - 1 and words[at].lower().rstrip(".") in titles:
        at += 1
    title, proper = words[:at], _without_epithet(words[at:])
    if len(words) < 2:
        return
    yield " ".join(proper)
    for word in (proper[0], proper[-1]):
        if title and title[-1].lower() not in ("the", "a", "an"):
            yield " ".join((*title, word))
    # The family name alone is what many are called, but rather by others.
    if len(proper[0]) >= _SHORTEST_PART and proper[0][0].isupper():
        yield proper[0]


def _without_epithet(words: list[str]) -> list[str]:
    """`words` up to the first of `the Hedgehog`, `of the Marsh`; never nothing."""
    epithets = words_of("names", "epithets")
    for place, word in enumerate(words[1:], start=1):
        if word in epithets:
            return words[:place]
    return words
