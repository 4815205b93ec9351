"""The form in which a character is written: Discord shows it as a modal of five fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import regex

from bot.errors import CommandError
from bot.plain_text import well_formed
from persona_prompts.cards.card import Card
from persona_prompts.character import Character

MOST_TEXT = 4000  # characters that a field of Discord's holds
_MOST_NAME = 64
_SEPARATOR = regex.compile(r"^[ \t]*-{3,}[ \t]*$", regex.MULTILINE)  # between two greetings


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form. `key` is the card's name for it, `value` what it holds at first."""

    key: str
    label: str
    value: str = ""
    hint: str = ""
    required: bool = False
    most: int = MOST_TEXT


PAGES: dict[str, tuple[Field, ...]] = {
    "character": (
        Field("name", "Name", required=True, most=_MOST_NAME),
        Field("description", "Description", hint="Who {{char}} is."),
        Field("personality", "Personality", hint="In a few words."),
        Field("scenario", "Scenario", hint="Where {{char}} meets {{user}}."),
        Field("first_mes", "Greeting", hint="What {{char}} says first; empty: it waits."),
    ),
    "prompts": (
        Field("mes_example", "Example dialogues", hint="<START> begins each of them."),
        Field("alternate_greetings", "Other greetings", hint="A line of --- between two of them."),
        Field("system_prompt", "System prompt", hint="{{original}} stands for the usual one."),
        Field("post_history_instructions", "Closing instructions"),
        Field("creator_notes", "Notes for users", hint="They never enter a prompt."),
    ),
}
FIRST = "character"


@dataclass(frozen=True, slots=True)
class Form:
    """A page of a character's card. `id` is empty for a character that does not exist yet.

    `left_out` names fields that are too long for a form; they stay as they are.
    """

    id: str
    title: str
    fields: tuple[Field, ...]
    left_out: tuple[str, ...] = ()

    def changes(self, values: Mapping[str, str]) -> dict[str, Any]:
        """What somebody changed, as a card has it. Raises `CommandError`."""
        return {
            field.key: _as_card_has_it(field.key, values[field.key])
            for field in self.fields
            if field.key in values and _tidy(values[field.key]) != _tidy(field.value)
        }


def form_of(character: Character | None, card: Card | None, page: str) -> Form:
    """The form of a card, filled in. Raises `CommandError` if there is no such page."""
    page = page or FIRST
    if page not in PAGES:
        raise CommandError(f"There is no page {page[:40]!r}; there are {', '.join(PAGES)}.")
    if character is None or card is None:
        return Form("", "A new character", PAGES[page])
    fields, left_out = [], []
    for field in PAGES[page]:
        value = _as_text(getattr(card.fields, field.key, ""))
        if len(value) > field.most:
            left_out.append(field.label)
        else:
            fields.append(
                Field(field.key, field.label, value, field.hint, field.required, field.most)
            )
    if not fields:
        raise CommandError(
            f"All of that is too long for a form; export {character.id}, edit the file and import"
            " it again."
        )
    return Form(character.id, character.name, tuple(fields), tuple(left_out))


def new_fields(values: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, as the fields of a new card."""
    found = {key: _as_card_has_it(key, value) for key, value in values.items()}
    return {key: value for key, value in found.items() if value}


def _as_card_has_it(key: str, value: str) -> Any:
    text = _tidy(value)
    if key == "alternate_greetings":
        return [part for piece in _SEPARATOR.split(text) if (part := piece.strip())]
    return text


def _as_text(value: Any) -> str:
    return "\n---\n".join(value) if isinstance(value, list) else str(value)


def _tidy(text: str) -> str:
    """Discord gives every line break as one character, and browsers do not."""
    return well_formed(text).replace("\r\n", "\n").strip()
