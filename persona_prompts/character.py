"""One character, read from a character card (V1, V2 or V3; JSON or PNG) and checked.

A card is the file that other roleplay programs write (see `persona_prompts.cards`):

    {"spec": "chara_card_v3", "spec_version": "3.0",
     "data": {"name": "…", "description": "…", "first_mes": "…", …,
              "extensions": {"troupe": {"aliases": ["…"], "adapter": "…"}}}}

Only `name` is required of `data`. Keys that Troupe does not know are tolerated, wrong types and
over-long texts are not: each is one sentence that names file and field.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import regex

from persona_prompts.cards.card import Card, read_card
from persona_prompts.cards.fields import DataFields, V3DataFields
from persona_prompts.errors import CharacterError
from persona_prompts.lorebook.book import Book, book_of
from persona_prompts.speakers import MAX_NAME, graphemes, speaker_name

__all__ = ["SUMMARY_LENGTH", "Character", "CharacterError", "character_of", "check_id",
           "read_character"]  # fmt: skip

SUMMARY_LENGTH = 100  # graphemes of the line in `/persona list`

_SLUG = regex.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_SENTENCE = regex.compile(r".+?(?:[.!?](?=\s)|[。！？]|$)", regex.DOTALL)
_ADULT_TAGS = frozenset(("nsfw", "18+", "adult", "explicit"))


@dataclass(frozen=True, slots=True)
class Character:
    """One member of the cast, as its card describes it; macros are still unreplaced.

    `id` is the file's stem. `aliases` are other names it answers to. `greeting` is what it says
    first in a scene (empty: it waits), `group_greetings` further ones for groups, `examples` the
    card's `mes_example`. `adapter` is the adapter it prefers, None for the channel's own.
    `summary` is one line for lists, `creator_notes` what its author tells users; neither enters a
    prompt. `nickname` is what {{char}} stands for, empty: the name. `file` is the card it came
    from, `warnings` what of that could be used only in part.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    personality: str = ""
    scenario: str = ""
    greeting: str = ""
    alternate_greetings: tuple[str, ...] = ()
    examples: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    adapter: str | None = None
    summary: str = ""
    tags: tuple[str, ...] = ()
    nickname: str = ""
    group_greetings: tuple[str, ...] = ()
    book: Book | None = None
    age_restricted: bool = False
    creator_notes: str = ""
    creator: str = ""
    version: str = ""
    file: Path | None = None
    warnings: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """What it is called in its own prompts: the nickname, else the name."""
        return self.nickname or self.name

    def greetings(self, *, group: bool = False) -> tuple[str, ...]:
        """All greetings: the first, the alternate ones, in a group those for groups."""
        return (self.greeting, *self.alternate_greetings, *(self.group_greetings if group else ()))


def read_character(file: Path) -> Character:
    """The character in the card `file`; its id is the file's stem.

    Raises `CharacterError` (one sentence naming file and field) for a file that is missing,
    unreadable, too large, no PNG and no JSON, no card, or whose fields have a wrong type or size;
    for a stem that is no slug; and for a name or alias that could not stand in a prompt as it is.
    """
    if not _SLUG.fullmatch(file.stem):
        raise CharacterError(
            f"{file.name}: a character's file is named in small letters, digits and hyphens, "
            "like mirela.json."
        )
    return character_of(read_card(file), file.stem, file.name, file)


def check_id(id: str) -> str:
    """`id` as it came. Raises `CharacterError` if it is no slug."""
    if not _SLUG.fullmatch(id):
        raise CharacterError(
            f"{id[:40]!r} is no id for a character: at most 64 small letters, digits and hyphens,"
            " like mirela."
        )
    return id


def character_of(card: Card, id: str, label: str, file: Path | None = None) -> Character:
    """The character of a card; `label` names the card in sentences. Raises `CharacterError`."""
    fields = card.fields
    data = fields if isinstance(fields, DataFields) else DataFields(**fields.model_dump())
    v3 = data if isinstance(data, V3DataFields) else V3DataFields(name=data.name)
    prefix = "" if card.spec == "v1" else "data."
    nickname = v3.nickname or ""
    troupe = data.extensions.troupe
    _check_name(label, f"{prefix}name", data.name)
    if nickname:
        _check_name(label, f"{prefix}nickname", nickname)
    for alias in troupe.aliases:
        _check_name(label, f"{prefix}extensions.troupe.aliases", alias)
    notes = (v3.creator_notes_multilingual or {}).get("en") or data.creator_notes
    nicknames = (nickname,) if nickname and nickname != data.name else ()
    book = data.character_book
    return Character(
        id=id,
        name=data.name,
        aliases=tuple(dict.fromkeys((*troupe.aliases, *nicknames))),
        description=data.description,
        personality=data.personality,
        scenario=data.scenario,
        greeting=data.first_mes,
        alternate_greetings=tuple(text for text in data.alternate_greetings if text),
        examples=data.mes_example,
        system_prompt=data.system_prompt,
        post_history_instructions=data.post_history_instructions,
        adapter=troupe.adapter,
        summary=_summary(notes or data.description or data.personality, nickname or data.name),
        tags=tuple(data.tags),
        nickname=nickname,
        group_greetings=tuple(text for text in v3.group_only_greetings if text),
        book=None if book is None else book_of(book, f"card:{id}"),
        age_restricted=troupe.age_restricted or any(t.lower() in _ADULT_TAGS for t in data.tags),
        creator_notes=notes,
        creator=data.creator,
        version=data.character_version,
        file=file,
        warnings=card.warnings,
    )


def _check_name(label: str, field: str, name: str) -> None:
    """Refuse a name that a prompt would have to change: replies are measured and cut by it."""
    if speaker_name(name) != name:
        raise CharacterError(
            f"{label}: {field} must be one line of at most {MAX_NAME} characters, without colons, "
            f"brackets, pipes, hashes, invisible characters or a role such as USER, "
            f"not {name!r}."
        )


def _summary(source: str, name: str) -> str:
    """One line about the character: what its author notes, else its description's beginning."""
    found = _SENTENCE.match(source.strip())
    text = (found.group() if found else "").replace("{{char}}", name)
    pieces = graphemes(" ".join(text.split()))
    if len(pieces) <= SUMMARY_LENGTH:
        return "".join(pieces)
    return "".join(pieces[: SUMMARY_LENGTH - 1]).rstrip() + "…"
