"""Where the sentences of a reply begin and end, as it is written in roleplay.

Actions (`*grins*`) at a sentence's beginning count by themselves, so that cutting what was said
leaves what was done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import regex

Span = tuple[int, int]

_ABBREVIATION = regex.compile(
    r"(?<![\p{L}\p{N}])(?:Mr|Mrs|Ms|Dr|Prof|Capt|Col|Gen|Lt|Sgt|St|Jr|Sr|Mt|No|vs|e\.g|i\.e|(?!I)\p{Lu})$",
)
_END = regex.compile(
    r"(?P<mark>[.!?…‽]++)(?P<close>[\"”’')\]*_]{0,4}+)(?=\s|$|[“\"*\p{Lu}(])"
    r"|[。！？]++[」』”’\"）》*]{0,4}+|\n++"
)
_ACTION = regex.compile(r"[ \t]*+\*(?!\*)[^*\n]{1,400}+\*(?!\*)[.!?…]{0,3}+(?=\s|$|[\"“])")
_PAIRS = (("“", "”"), ("「", "」"), ("『", "』"), ("(", ")"), ("（", "）"), ("[", "]"))
_TWINS = ("**", '"', "*", "_")


def sentences(text: str, atoms: Sequence[Span] = ()) -> list[Span]:
    """The spans of the sentences of `text`, in order, without the white space between them.

    No sentence ends inside one of `atoms` (names such as `Dr. Harrow`, in order). Quotation marks
    and asterisks whose partner is in another sentence are left outside.
    """
    borders = [0, *_borders(text, atoms), len(text)]
    spans = itertools.pairwise(borders)
    return [span for start, end in spans if (span := _tidy(text, start, end)) is not None]


def _borders(text: str, atoms: Sequence[Span]) -> Iterator[int]:
    position, waiting = 0, list(reversed(atoms))
    while position < len(text):
        if action := _ACTION.match(text, position):
            position = action.end()
            yield position
            continue
        end = _END.search(text, position)
        while end is not None and _inside(end, text, waiting):
            end = _END.search(text, end.end())
        if end is None:
            return
        position = end.end()
        yield position


def _inside(end: regex.Match[str], text: str, waiting: list[Span]) -> bool:
    """Whether this mark ends no sentence: it belongs to a name or an abbreviation."""
    while waiting and waiting[-1][1] < end.start():
        waiting.pop()
    if waiting and waiting[-1][0] < end.start() < waiting[-1][1]:
        return True
    after_name = bool(waiting) and waiting[-1][1] == end.start()
    if after_name or end["mark"] != "." or end["close"]:
        return False
    return bool(_ABBREVIATION.search(text, max(end.start() - 6, 0), end.start()))


def _tidy(text: str, start: int, end: int) -> Span | None:
    """The span without white space and lonely marks at its ends; None if nothing is left."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    inner = text[start:end]
    for opening, closing in _PAIRS:
        balance = inner.count(opening) - inner.count(closing)
        if balance > 0 and inner.startswith(opening):
            start += len(opening)
        elif balance < 0 and inner.endswith(closing):
            end -= len(closing)
    for mark in _TWINS:
        if text[start:end].count(mark) % 2:
            if text.startswith(mark, start, end):
                start += len(mark)
            elif text.endswith(mark, start, end):
                end -= len(mark)
    return (start, end) if start < end else None
