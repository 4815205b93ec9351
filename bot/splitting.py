"""A long reply as several Discord messages.

The pieces are stable while a reply streams: when the text grows, no piece but the last changes, so
nothing that was already shown moves. Every decision therefore rests on a prefix of the text only.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import regex

LIMIT = 2000  # Discord counts code points, as Python does (discord-api-docs issue 1315)
SMALLEST_LIMIT = 64

_FENCE = "```"
_CLOSING = "\n" + _FENCE
# A fence with the language behind it, which only counts when a line break follows.
_FENCES = regex.compile(r"```(?:([\w+#.-]{1,24})?(?=\n))?")
_HEADER = len(_FENCE) + 24 + 1  # no break so close behind an opening fence
# Whitespace between two words; a mark that would join onto the whitespace keeps it where it is.
_GAPS = regex.compile(r"\s++(?![\p{M}\p{Emoji_Modifier}\u200d])")
_CLUSTERS = regex.compile(r"\X")
_SENTENCE_ENDS = "。！？；…，、"


class _Block(NamedTuple):
    """A code block: its fences stand at `start` and `end`; `close` is behind the second one."""

    start: int
    end: int
    close: int
    language: str

    def open_at(self, at: int) -> bool:
        """Whether a text cut off at `at` leaves this block open."""
        return self.start + len(_FENCE) <= at < self.close


def split(text: str, limit: int = LIMIT) -> list[str]:
    """`text` as messages of at most `limit` code points each, none of them blank.

    Breaks between paragraphs, lines or words where there is such a place, else between graphemes.
    A code block that is broken is closed in one message and opened again, with its language, in
    the next. `limit` must be at least `SMALLEST_LIMIT`.
    """
    if limit < SMALLEST_LIMIT:
        raise ValueError(f"A limit of {limit} is too small to split at.")
    pieces: list[str] = []
    rest = text.strip()
    while rest:
        piece, rest = _first_piece(rest, limit)
        pieces.append(piece)
    return pieces


def _first_piece(text: str, limit: int) -> tuple[str, str]:
    """The first message and the text that is left, with its code block opened again."""
    blocks = _blocks(text)
    room = limit - len(_CLOSING)
    # Would some prefix of the text, shown with its code block closed, be too long? Once it is, it
    # stays so, whatever follows.
    closes_late = any(
        block.open_at(length)
        for block in blocks
        for length in range(room + 1, min(len(text), limit) + 1)
    )
    if len(text) <= limit and not closes_late:
        return text + _closing(text, blocks), ""
    at = _break_position(text, blocks, room if closes_late else limit)
    block = next((block for block in blocks if block.open_at(at)), None)
    if block is None:
        return text[:at].rstrip(), text[at:].lstrip()
    piece, rest = text[:at] + _closing(text[:at], blocks), text[at:].removeprefix("\n")
    if not rest.strip("` \n"):
        return piece, ""  # nothing, or a part of the closing fence, which the piece has by now
    if rest.lstrip().startswith(_FENCE):
        return piece, rest.lstrip().removeprefix(_FENCE).lstrip()
    return piece, f"{_FENCE}{block.language}\n{rest}"


def _blocks(text: str) -> list[_Block]:
    """The code blocks of `text` in order; one that is still open ends beyond any limit."""
    blocks: list[_Block] = []
    at = 0
    while opening := _FENCES.search(text, at):
        end = text.find(_FENCE, opening.end())
        if end < 0:
            end = sys.maxsize - len(_FENCE)
        at = end + len(_FENCE)
        blocks.append(_Block(opening.start(), end, at, opening.group(1) or ""))
    return blocks


def _closing(shown: str, blocks: list[_Block]) -> str:
    """What must follow `shown` so that no code block stays open."""
    if not any(block.open_at(len(shown)) for block in blocks):
        return ""
    return _FENCE if shown.endswith("\n") else _CLOSING


def _break_position(text: str, blocks: list[_Block], room: int) -> int:
    """Where the first message ends, at most `room`: the latest good place. `text` is longer."""

    def allowed(at: int) -> bool:
        torn_fence = text[at - 1 : at + 1] == "``"
        return not torn_fence and not any(
            block.start < at <= block.start + _HEADER for block in blocks
        )

    # A gap may begin at `room` itself: it is dropped, so it needs no room.
    window = text[: room + 1] + _next_word(text, room + 1)
    gaps = [gap for gap in _GAPS.finditer(window) if 0 < gap.start() <= room]
    gaps = [gap for gap in gaps if allowed(gap.start())]
    for least, mark in ((room // 2, "\n\n"), (room // 2, "\n"), (1, "")):
        fitting = [gap.start() for gap in gaps if gap.start() >= least and mark in gap.group()]
        if fitting:
            return fitting[-1]
    clusters = [cluster.end() for cluster in _CLUSTERS.finditer(text[: room + 1])]
    ends = [end for end in clusters if end <= room and allowed(end)]
    soft = [end for end in ends if end >= room // 2 and text[end - 1] in _SENTENCE_ENDS]
    return (soft or ends or [room])[-1]


def _next_word(text: str, at: int) -> str:
    """What follows position `at` up to the first character that is not whitespace."""
    end = at
    while end < len(text) and text[end].isspace():
        end += 1
    return text[at : end + 1]
