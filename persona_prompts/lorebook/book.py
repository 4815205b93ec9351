"""A lorebook as the engine uses it, read from a card's `character_book` or a file of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from persona_prompts.cards.document import parse
from persona_prompts.cards.fields import BookFields, EntryExtensions, EntryFields, explain
from persona_prompts.errors import CharacterError
from persona_prompts.lorebook.decorators import (
    Decorators,
    Position,
    read_decorators,
    without_decorators,
)

# How secondary keys count, as SillyTavern numbers it: one of them, not all, none, all.
Logic = Literal["any", "not_all", "none", "all"]
_LOGIC: tuple[Logic, ...] = ("any", "not_all", "none", "all")
_AT_DEPTH = 4  # SillyTavern's number of that position
_DEFAULT_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `content` is without decorators, macros still unreplaced.

    `id` names it within its book for good: its place, counted from 0. `title` is for people.
    `rank` is what the budget keeps first: the priority, else the insertion order. `depth` None: in
    the system message at `position`; else that many messages before the end of the chat.
    """

    id: int
    title: str
    content: str
    keys: tuple[str, ...] = ()
    secondary_keys: tuple[str, ...] = ()
    logic: Logic = "any"
    selective: bool = False
    constant: bool = False
    case_sensitive: bool = False
    whole_words: bool = False
    use_regex: bool = False
    order: float = 0
    rank: float = 0
    scan_depth: int | None = None
    position: Position = "after_char"
    depth: int | None = None
    recursive: bool = True  # what was activated before may activate it
    triggers: bool = True  # it may activate others
    decorators: Decorators = field(default_factory=Decorators)

    @property
    def lasting(self) -> bool:
        """Whether it matters later that a prompt of the scene had it."""
        return self.decorators.keep_after_match or self.decorators.not_after_match


@dataclass(frozen=True, slots=True)
class Book:
    """A lorebook; `name` is for people, `source` tells it from other books: `card:mirela`.

    `scan_depth` counts messages, None for the engine's default. `token_budget` None: only the
    engine's. A budget of 0 is none, since many programs write 0 for "not set".
    """

    source: str
    name: str = ""
    entries: tuple[Entry, ...] = ()
    scan_depth: int | None = None
    token_budget: int | None = None
    recursive: bool = False

    @property
    def counts_replies(self) -> bool:
        """Whether an entry depends on how often the character spoke in the scene."""
        return any(
            entry.decorators.only_after is not None or entry.decorators.only_every is not None
            for entry in self.entries
        )

    @property
    def has_lasting(self) -> bool:
        """Whether an entry depends on what earlier prompts of the scene had."""
        return any(entry.lasting for entry in self.entries)


def read_book(content: bytes, source: str, label: str) -> Book:
    """The lorebook in the bytes of a JSON file: `lorebook_v3`, a card's book, or SillyTavern's.

    `label` names the file in sentences. Raises `CharacterError` in one sentence.
    """
    _, value = parse(content, label)
    prefix = ""
    if isinstance(value, dict) and value.get("spec") == "lorebook_v3":
        prefix, value = "data.", value.get("data")
    if not isinstance(value, dict) or "entries" not in value:
        raise CharacterError(f"{label} is not a lorebook: its JSON must be an object with entries.")
    if isinstance(value["entries"], dict):
        value = {**value, "entries": [_from_world(e) for e in value["entries"].values()]}
    try:
        fields = BookFields.model_validate(value)
    except ValidationError as error:
        raise CharacterError(explain(label, prefix, error)) from None
    return book_of(fields, source)


def book_of(fields: BookFields, source: str) -> Book:
    """The lorebook of these fields; entries that are switched off or empty are left out."""
    entries = (_entry(number, entry) for number, entry in enumerate(fields.entries))
    return Book(
        source=source,
        name=fields.name or "",
        entries=tuple(entry for entry in entries if entry is not None),
        scan_depth=None if fields.scan_depth is None else max(0, int(fields.scan_depth)),
        token_budget=int(fields.token_budget or 0) or None,
        recursive=bool(fields.recursive_scanning),
    )


def _entry(number: int, fields: EntryFields) -> Entry | None:
    content = without_decorators(fields.content).strip()
    if not fields.enabled or not content:
        return None
    extra = fields.extensions or EntryExtensions()
    said = read_decorators(fields.content)
    keys = _filled(fields.keys)
    title = (fields.name or fields.comment or ", ".join(keys[:3]) or f"entry {number + 1}")[:80]
    case = fields.case_sensitive if fields.case_sensitive is not None else extra.case_sensitive
    scan_depth = said.scan_depth if said.scan_depth is not None else _whole(extra.scan_depth)
    return Entry(
        id=number,
        title=" ".join(title.split()),
        content=content,
        keys=keys,
        secondary_keys=_filled(fields.secondary_keys or ()),
        logic=_LOGIC[_whole(extra.selectiveLogic, most=3) or 0],
        selective=bool(fields.selective),
        constant=bool(fields.constant),
        case_sensitive=case is True,
        whole_words=extra.match_whole_words is True,
        use_regex=bool(fields.use_regex),
        order=fields.insertion_order,
        rank=fields.insertion_order if fields.priority is None else fields.priority,
        scan_depth=scan_depth,
        position=said.position or ("before_char" if _stands_before(fields) else "after_char"),
        depth=_depth(said, extra),
        recursive=extra.exclude_recursion is not True,
        triggers=extra.prevent_recursion is not True,
        decorators=said,
    )


def _stands_before(fields: EntryFields) -> bool:
    return fields.position == "before_char"


def _depth(said: Decorators, extra: EntryExtensions) -> int | None:
    """Where in the chat; a `position` decorator means the system message."""
    if said.position is not None:
        return None
    if said.depth is not None:
        return said.depth
    if _whole(extra.position) != _AT_DEPTH:
        return None
    depth = _whole(extra.depth)
    return _DEFAULT_DEPTH if depth is None else depth


def _whole(value: Any, most: int = 1_000_000) -> int | None:
    """`value` if it is a whole number from 0 to `most`: extensions may hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= most else None


def _filled(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(key.strip() for key in keys if key.strip())


def _from_world(entry: Any) -> Any:
    """An entry of SillyTavern's own lorebook files, as card formats have it."""
    if not isinstance(entry, dict):
        return entry
    names = {"key": "keys", "keysecondary": "secondary_keys", "order": "insertion_order"}
    renamed = {names.get(key, key): value for key, value in entry.items()}
    position = renamed.pop("position", None)
    kept = ("depth", "selectiveLogic", "scanDepth", "matchWholeWords", "caseSensitive",
            "excludeRecursion", "preventRecursion")  # fmt: skip
    extensions = {_snake(key): entry[key] for key in kept if key in entry}
    return {
        **renamed,
        "enabled": entry.get("disable") is not True,
        "position": "before_char" if position == 0 else "after_char",
        "use_regex": False,
        "extensions": {**extensions, "position": position},
    }


def _snake(name: str) -> str:
    """`scanDepth` as `scan_depth`; `selectiveLogic` is called that everywhere."""
    if name == "selectiveLogic":
        return name
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
