"""One character, read from a character card (V2 JSON) and checked.

A card is the file that other roleplay programs write:

    {"spec": "chara_card_v2", "spec_version": "2.0",
     "data": {"name": "…", "description": "…", "first_mes": "…", …,
              "extensions": {"troupe": {"aliases": ["…"], "adapter": "…"}}}}

Only `name` is required of `data`. Keys that Troupe does not know are tolerated, wrong types and
over-long texts are not: each is one sentence that names file and field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from persona_prompts.speakers import MAX_NAME, graphemes, speaker_name

MAX_FILE_BYTES = 512 * 1024
SUMMARY_LENGTH = 100  # graphemes of the line in `/persona list`

_SLUG = regex.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_SENTENCE = regex.compile(r".+?(?:[.!?](?=\s)|[。！？]|$)", regex.DOTALL)

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=16_000)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class CharacterError(Exception):
    """A character cannot be used or found; the message is one sentence that says what to change."""


@dataclass(frozen=True, slots=True)
class Character:
    """One member of the cast, as its card describes it; macros are still unreplaced.

    `id` is the file's stem. `aliases` are other names it answers to. `greeting` is what it says
    first in a scene (empty: it waits), `examples` the card's `mes_example`. `adapter` is the
    adapter it prefers, None for the channel's own. `summary` is one line for lists.
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


class _CardPart(BaseModel):
    # Other programs add keys of their own, so extra ones are no error.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Troupe(_CardPart):
    aliases: list[Name] = Field([], max_length=16)
    adapter: Label | None = None


class _Extensions(_CardPart):
    troupe: _Troupe = _Troupe()


class _CardData(_CardPart):
    name: Name
    description: Text = ""
    personality: Text = ""
    scenario: Text = ""
    first_mes: Text = ""
    alternate_greetings: list[Text] = Field([], max_length=32)
    mes_example: Text = ""
    system_prompt: Text = ""
    post_history_instructions: Text = ""
    creator_notes: Text = ""
    tags: list[Label] = Field([], max_length=64)
    extensions: _Extensions = _Extensions()


class _Card(_CardPart):
    spec: Literal["chara_card_v2"]
    data: _CardData


def read_character(file: Path) -> Character:
    """The character in the card `file`; its id is the file's stem.

    Raises `CharacterError` (one sentence naming file and field) for a file that is missing,
    unreadable, over 512 KiB, not JSON, not a V2 card, or whose fields have a wrong type or size;
    for a stem that is no slug; and for a name or alias that could not stand in a prompt as it is.
    """
    if not _SLUG.fullmatch(file.stem):
        raise CharacterError(
            f"{file}: a character's file is named in small letters, digits and hyphens, "
            "like mirela.json."
        )
    try:
        card = _Card.model_validate(_parse(file))
    except ValidationError as error:
        raise CharacterError(_explain(file, error)) from None
    data = card.data
    names = [("data.name", data.name)]
    names += [("data.extensions.troupe.aliases", alias) for alias in data.extensions.troupe.aliases]
    for field, name in names:
        _check_name(file, field, name)
    return Character(
        id=file.stem,
        name=data.name,
        aliases=tuple(data.extensions.troupe.aliases),
        description=data.description,
        personality=data.personality,
        scenario=data.scenario,
        greeting=data.first_mes,
        alternate_greetings=tuple(text for text in data.alternate_greetings if text),
        examples=data.mes_example,
        system_prompt=data.system_prompt,
        post_history_instructions=data.post_history_instructions,
        adapter=data.extensions.troupe.adapter,
        summary=_summary(data),
        tags=tuple(data.tags),
    )


def _parse(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise CharacterError(f"There is no character file {file}.") from None
    except OSError as error:
        reason = error.strerror or error
        raise CharacterError(f"The character file {file} cannot be read: {reason}.") from None
    if len(content) > MAX_FILE_BYTES:
        raise CharacterError(f"{file} is larger than {MAX_FILE_BYTES // 1024} KiB; shorten it.")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CharacterError(f"{file} is not UTF-8 text (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise CharacterError(
            f"{file} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    except (RecursionError, ValueError):  # nested too deep; a number of thousands of digits
        raise CharacterError(f"{file} is not usable JSON: nested too deep or too large.") from None


def _explain(file: Path, error: ValidationError) -> str:
    """The first problem of `error` as one sentence."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if not field:
        return f"{file} is not a character card: its JSON must be an object."
    if field == "spec":
        return f'{file}: spec must be "chara_card_v2", the character card format V2.'
    if problem["type"] == "missing":
        return f"{file}: {field} is missing."
    if problem["type"] == "model_type":
        return f"{file}: {field} must be an object."
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{file}: {field} is not usable: {reason}."


def _check_name(file: Path, field: str, name: str) -> None:
    """Refuse a name that a prompt would have to change: replies are measured and cut by it."""
    if speaker_name(name) != name:
        raise CharacterError(
            f"{file}: {field} must be one line of at most {MAX_NAME} characters, without colons, "
            f"brackets, pipes, hashes, invisible characters or a role such as USER, "
            f"not {name!r}."
        )


def _summary(data: _CardData) -> str:
    """One line about the character: what its author notes, else its description's beginning."""
    source = data.creator_notes or data.description or data.personality
    found = _SENTENCE.match(source.strip())
    text = (found.group() if found else "").replace("{{char}}", data.name)
    pieces = graphemes(" ".join(text.split()))
    if len(pieces) <= SUMMARY_LENGTH:
        return "".join(pieces)
    return "".join(pieces[: SUMMARY_LENGTH - 1]).rstrip() + "…"
