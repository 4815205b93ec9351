"""Which entries of the lorebooks enter a prompt, and what became of those that did not.

An entry is activated by a key that was said lately, or always (`constant`). The budget then keeps
the highest ranks; what it drops is named, since lore that goes missing silently is what users of
other programs complain of. A prompt's beginning changes with the entries in it, so what is always
needed is cheapest as `constant`, and what comes and goes as `@@depth 0`, near the end.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import regex

from persona_prompts.lorebook.book import Book, Entry, Logic
from persona_prompts.lorebook.decorators import Position
from persona_prompts.lorebook.keys import BadPattern, Matcher, OutOfTime
from persona_prompts.macros import Scene, Values, fill
from persona_prompts.speakers import clean_text, one_line, speaker_name
from persona_prompts.turns import Count, Line

SCAN_DEPTH = 2  # messages
MAX_RECURSION = 3  # rounds
MAX_SCAN_DEPTH = 1000
MAX_SCANNED = 20_000  # characters of the messages, the newest
MAX_SECONDS = 0.2  # of the processor; 2,000 entries with three keys each take 0.01
MAX_MISSES = 16  # entries that did not fit, after which no further ones are counted

BUDGET, TIME = "no room in the lore's token budget", "its pattern took too long"
SLOW = "all keys together took too long"
CONTEXT = "no room beside the conversation"

_LOGIC: Mapping[Logic, Callable[[list[bool]], bool]] = {
    "any": any,
    "all": all,
    "none": lambda found: not any(found),
    "not_all": lambda found: not all(found),
}


@dataclass(frozen=True, slots=True)
class ActiveEntry:
    """An entry as the prompt shows it.

    `key` names it for good (`card:mirela#3`), `reason` says what activated it. `tokens` is what
    the text costs. `depth` None: in the system message at `position`. `lasting`: it matters later
    that a prompt of the scene had it.
    """

    key: str
    title: str
    text: str
    reason: str
    tokens: int
    rank: float
    order: float
    position: Position
    depth: int | None = None
    first_to_go: bool = False
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """An entry that should have entered the prompt, and why it did not."""

    key: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Activated:
    """What became of the lore: entries in the order of the prompt, and what was dropped."""

    entries: tuple[ActiveEntry, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def activate(
    books: Sequence[Book],
    history: Sequence[Line],
    count: Count,
    *,
    budget: int,
    char: str,
    user: str,
    scene: Scene = Scene(),  # noqa: B008 - frozen
    scan_depth: int = SCAN_DEPTH,
    recursion: int = MAX_RECURSION,
    greeting: int | None = None,
    replies: int | None = None,
    matched_before: Collection[str] = (),
) -> Activated:
    """The entries of `books` that `history` (oldest first) calls up, within `budget` tokens.

    `char` and `user` are {{char}} and {{user}} of keys and contents; `count` gives the tokens of a
    text, which stands alone in its line. Where a book says nothing else, the newest `scan_depth`
    messages are searched, with the names of others than the character before them. `recursion`
    limits the rounds in which books that ask for it are searched for keys in what was activated.
    `greeting` is the index of the scene's greeting, `replies` the number of the character's
    messages in it (None: those of `history`), `matched_before` the keys of entries that earlier
    prompts of the scene had; they are what decorators ask about.

    Books are given in the order of precedence: of entries of one rank, an earlier book's stay.
    A key is found wherever it occurs, in capitals or not, unless the entry says otherwise; where
    V3 would have `constant` and secondary keys ignored beside `use_regex`, they count, because
    SillyTavern writes `use_regex` into every entry.
    """
    said = replies if replies is not None else sum(line.own for line in history)
    looking = _Looking(
        Values(char, speaker_name(user, taken=char), scene=scene),
        history, scan_depth, greeting, said, matched_before,
    )  # fmt: skip
    looking.look(books)
    for _ in range(recursion):
        if not looking.look_again(books):
            break
    return _within_budget(books, looking, count, budget)


class _Looking:
    """The search of one activation; finds each entry once."""

    def __init__(
        self,
        values: Values,
        history: Sequence[Line],
        scan_depth: int,
        greeting: int | None,
        replies: int,
        matched_before: Collection[str],
    ) -> None:
        self._values = values
        # A user's name must not become a piece of a pattern.
        self._escaped = replace(
            values, char=regex.escape(values.char), user=regex.escape(values.user)
        )
        self._history = history
        self._scan_depth = scan_depth
        self._greeting = greeting
        self._replies = replies
        self._before = matched_before
        self._matcher = Matcher()
        self._begun = time.thread_time()
        self._texts: dict[int, str] = {}
        self._new: list[tuple[Book, Entry]] = []
        self.found: dict[str, tuple[Book, Entry, str]] = {}
        self.failed: dict[str, Dropped] = {}

    def look(self, books: Sequence[Book]) -> None:
        """Find what the messages call up."""
        for book in books:
            for entry in book.entries:
                depth = entry.scan_depth if entry.scan_depth is not None else book.scan_depth
                self._try(book, entry, self._text(self._scan_depth if depth is None else depth))

    def look_again(self, books: Sequence[Book]) -> bool:
        """Find what the entries found last call up; whether there was anything new."""
        matching = replace(self._values, matching=True)
        texts = [
            fill(entry.content, matching)
            for book, entry in self._new
            if book.recursive and entry.triggers
        ]
        self._new = []
        if texts:
            text = "\n".join(texts)[:MAX_SCANNED]
            for book in books:
                for entry in book.entries if book.recursive else ():
                    if entry.recursive:
                        self._try(book, entry, text)
        return bool(self._new)

    def _try(self, book: Book, entry: Entry, text: str) -> None:
        key = key_of(book, entry)
        if key in self.found or key in self.failed:
            return
        if time.thread_time() - self._begun > MAX_SECONDS:
            self.failed[key] = Dropped(key, entry.title, SLOW)
            return
        try:
            reason = self._reason(key, entry, text)
        except BadPattern as bad:
            self.failed[key] = Dropped(key, entry.title, str(bad))
        except OutOfTime:
            self.failed[key] = Dropped(key, entry.title, TIME)
        else:
            if reason:
                self.found[key] = (book, entry, reason)
                self._new.append((book, entry))

    def _reason(self, key: str, entry: Entry, text: str) -> str:
        """What activates the entry; empty if nothing does."""
        said = entry.decorators
        if said.always:
            return "@@activate"
        if said.never or (said.not_after_match and key in self._before):
            return ""
        if said.keep_after_match and key in self._before:
            return "matched before"
        if self._is_out_of_place(entry):
            return ""
        if entry.constant:
            return "constant" if self._secondary(entry, text, only_decorators=True) else ""
        for at, found in enumerate(self._search(entry, entry.keys, text)):
            if found:
                return repr(entry.keys[at]) if self._secondary(entry, text) else ""
        return ""

    def _is_out_of_place(self, entry: Entry) -> bool:
        said = entry.decorators
        return (
            (said.only_after is not None and self._replies < said.only_after)
            or (said.only_every is not None and self._replies % said.only_every != 0)
            or (None not in (said.greeting, self._greeting) and said.greeting != self._greeting)
        )

    def _secondary(self, entry: Entry, text: str, *, only_decorators: bool = False) -> bool:
        """Whether the further keys allow it."""
        said = entry.decorators
        if said.additional_keys and not any(self._search(entry, said.additional_keys, text)):
            return False
        excluded = () if entry.use_regex else said.exclude_keys
        if excluded and any(self._search(entry, excluded, text)):
            return False
        if only_decorators or not (entry.selective and entry.secondary_keys):
            return True
        return _LOGIC[entry.logic](self._search(entry, entry.secondary_keys, text))

    def _search(self, entry: Entry, keys: tuple[str, ...], text: str) -> list[bool]:
        filled = [fill(key, self._escaped if entry.use_regex or key[:1] == "/" else self._values)
                  for key in keys]  # fmt: skip
        return self._matcher.found(
            filled, text, use_regex=entry.use_regex, case_sensitive=entry.case_sensitive,
            words=entry.whole_words,
        )  # fmt: skip

    def _text(self, depth: int) -> str:
        """The newest `depth` messages as one text."""
        depth = min(depth, MAX_SCAN_DEPTH, len(self._history))
        if depth not in self._texts:
            lines = self._history[len(self._history) - depth :]
            text = "\n".join(
                line.text if line.own else f"{line.speaker}: {line.text}" for line in lines
            )
            self._texts[depth] = text[-MAX_SCANNED:]
        return self._texts[depth]

    def shown(self, book: Book, entry: Entry, reason: str, count: Count) -> ActiveEntry | None:
        """The entry as the prompt will have it; None if its macros leave nothing."""
        text = clean_text(fill(entry.content, self._values))
        if entry.depth is not None:
            text = one_line(text)
        if not text:
            return None
        return ActiveEntry(
            key_of(book, entry), entry.title, text, reason, count(text), entry.rank, entry.order,
            entry.position, entry.depth, entry.decorators.first_to_go, entry.lasting,
        )  # fmt: skip


def key_of(book: Book, entry: Entry) -> str:
    """The name of an entry among all books."""
    return f"{book.source}#{entry.id}"


def _within_budget(
    books: Sequence[Book], looking: _Looking, count: Count, budget: int
) -> Activated:
    """What fits of the entries found, each book's own budget first; the highest ranks stay."""
    places = {id(book): place for place, book in enumerate(books)}

    def preferred(item: tuple[Book, Entry, str]) -> tuple[float, int, bool]:
        book, entry, _ = item
        return (-entry.rank, places[id(book)], not entry.constant)

    left = {book.source: book.token_budget for book in books}
    kept: list[tuple[int, ActiveEntry]] = []
    dropped = list(looking.failed.values())
    misses = 0
    for place, (book, entry, reason) in enumerate(sorted(looking.found.values(), key=preferred)):
        active = looking.shown(book, entry, reason, count) if misses < MAX_MISSES else None
        own = left[book.source]
        if active is not None and active.tokens <= min(budget, budget if own is None else own):
            budget -= active.tokens
            left[book.source] = None if own is None else own - active.tokens
            kept.append((place, active))
        elif active is not None or misses >= MAX_MISSES:
            misses += 1
            dropped.append(Dropped(key_of(book, entry), entry.title, BUDGET))
    kept.sort(key=lambda item: (item[1].order, item[0]))
    return Activated(tuple(entry for _, entry in kept), tuple(dropped))


def at_positions(entries: Sequence[ActiveEntry]) -> dict[Position, tuple[str, ...]]:
    """The texts for the system message, by position, in their order."""
    placed = sorted((e for e in entries if e.depth is None), key=operator.attrgetter("position"))
    groups = groupby(placed, key=operator.attrgetter("position"))
    return {position: tuple(e.text for e in group) for position, group in groups}
