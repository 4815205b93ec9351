"""Whether the keys of an entry occur in a text, within a time that no pattern can stretch.

Patterns are the `regex` library's, near enough to JavaScript's that cards' patterns work; a key
written `/…/i` brings its flags along, whether or not the entry says `use_regex`, as SillyTavern
has it. Times are the processor's, not the clock's, so a busy machine fails no honest pattern.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import regex

MAX_PATTERN = 512  # characters
MAX_SCANNED = 20_000  # characters of a text that patterns look at, the newest
KEY_SECONDS = 0.01  # of the processor, as all times here
TOTAL_SECONDS = 0.1  # of all patterns of one activation

_EMPTY = regex.compile(r"\s*|//[gimsuvy]*")  # e.g. of a key that was but a macro
_SLASHED = regex.compile(r"/(.+)/([gimsuvy]*)", regex.DOTALL)
_NAMED = regex.compile(r"(?<!\\)\\k<(\w+)>")  # JavaScript's spelling of `(?P=name)`
_FLAGS = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL}
# The library unrolls what must repeat when it compiles, so these multiply: `((a{99}){99}){99}`
# takes all memory there is before any time limit applies.
MAX_WEIGHT = 32_768  # length * counts in braces * 2 for every group inside another

_SPECIAL = regex.compile(r"[\\.^$*+?{}\[\]|()]")
_LITERAL = regex.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]", regex.DOTALL)
_COUNT = regex.compile(r"\{\s*+(\d*+)\s*+(?:,\s*+(\d*+)\s*+)?\}")
_UNUSUAL = regex.compile(
    r"\{[^{}]*[<>=][^{}]*\}|\(\?(?:R|[-+]?\d|&|P>|\(|p)|\\L<"
)  # fuzzy, recursive


class BadPattern(Exception):
    """A key is no usable regular expression; the message says why, as part of a sentence."""


class OutOfTime(Exception):
    """A pattern took longer than it may."""


class Matcher:
    """Looks for keys in texts; one for each activation, since it shares out the time."""

    def __init__(self, total_seconds: float = TOTAL_SECONDS) -> None:
        self._left = total_seconds
        self._folded: dict[str, str] = {}

    def found(
        self, keys: Iterable[str], text: str, *, use_regex: bool, case_sensitive: bool, words: bool
    ) -> list[bool]:
        """For each key, whether it occurs in `text`; an empty one or an empty pattern never does.

        Raises `BadPattern` and `OutOfTime`.
        All patterns are looked at before any is searched: one bad one spoils them all, as V3 says.
        """
        compiled = [self._pattern(key, use_regex, case_sensitive) for key in keys]
        folded = text if case_sensitive else self._in_small_letters(text)
        return [
            not _EMPTY.fullmatch(key)
            and (
                self._searched(pattern, text)
                if pattern is not None
                else _contains(folded, key if case_sensitive else key.casefold(), words)
            )
            for key, pattern in zip(keys, compiled, strict=True)
        ]

    def _in_small_letters(self, text: str) -> str:
        if text not in self._folded:
            self._folded[text] = text.casefold()
        return self._folded[text]

    def _pattern(
        self, key: str, use_regex: bool, case_sensitive: bool
    ) -> regex.Pattern[str] | None:
        """The key as a pattern, None if it is plain text; compiling takes of the time, too."""
        if not key.startswith("/") and not (use_regex and _SPECIAL.search(key)):
            return None  # a pattern without special characters is text, found sooner as such
        if self._left <= 0:
            raise OutOfTime
        begun = time.thread_time()
        try:
            return _compiled(key, use_regex, case_sensitive)
        finally:
            self._left -= time.thread_time() - begun

    def _searched(self, pattern: regex.Pattern[str], text: str) -> bool:
        if self._left <= 0:
            raise OutOfTime
        begun = time.thread_time()
        try:
            match = pattern.search(text[-MAX_SCANNED:], timeout=min(KEY_SECONDS, self._left))
        except TimeoutError:
            raise OutOfTime from None
        finally:
            self._left -= time.thread_time() - begun
        return match is not None


def _contains(text: str, key: str, words: bool) -> bool:
    """Whether `key` stands in `text`; `words`: not as a part of a longer word."""
    at = text.find(key)
    while at >= 0 and words:
        end = at + len(key)
        inside = _joins(text[at - 1 : at], key[0]) or _joins(key[-1], text[end : end + 1])
        if not inside:
            return True
        at = text.find(key, at + 1)
    return at >= 0


def _joins(left: str, right: str) -> bool:
    """Whether two characters belong to one word; scripts without spaces have no such thing."""
    return _in_word(left) and _in_word(right)


def _in_word(letter: str) -> bool:
    return letter.isalnum() and not (
        "\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7a3"
    )


@functools.lru_cache(maxsize=4096)
def _compiled(key: str, use_regex: bool, case_sensitive: bool) -> regex.Pattern[str] | None:
    """The key as a pattern; None if it is plain text."""
    slashed = _SLASHED.fullmatch(key)
    if slashed is None and not use_regex:
        return None
    source, letters = (slashed[1], slashed[2]) if slashed else (key, "")
    if len(source) > MAX_PATTERN:
        raise BadPattern(f"its pattern has over {MAX_PATTERN} characters")
    if _is_costly(source):
        raise BadPattern("its pattern repeats, nests or guesses more than one may")
    flags = 0 if case_sensitive or slashed else int(regex.IGNORECASE)
    for letter in letters:
        flags |= int(_FLAGS.get(letter, 0))
    try:
        return regex.compile(_NAMED.sub(r"(?P=\1)", source), flags)
    except (regex.error, ValueError, OverflowError, RecursionError, KeyError, MemoryError) as error:
        reason = str(error).partition(" at position")[0]
        raise BadPattern(f"its pattern is no regular expression ({reason})") from None


def _is_costly(source: str) -> bool:
    """Whether the pattern could take long, or much memory, before a time limit applies."""
    if _UNUSUAL.search(source):
        return True
    plain = _LITERAL.sub("x", source)
    depth = deepest = 0
    for letter in plain:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    weight = len(source) << min(deepest, 16)
    for least, most in _COUNT.findall(plain):
        weight *= max(1, *(int(number[:6]) for number in (least, most) if number))
        if weight > MAX_WEIGHT:
            return True
    return weight > MAX_WEIGHT
