"""Files of dialogues, whatever program wrote them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from finetune.errors import InputError
from finetune.sources.chat_rows import Rows, alpaca, openai, sharegpt
from finetune.sources.dialogue import Dialogue
from finetune.sources.discord_export import discord_export
from finetune.sources.json_files import json_rows, kind
from finetune.sources.naming import Naming
from finetune.sources.roleplay_chats import character_ai, sillytavern
from persona_prompts.cast import Cast
from persona_prompts.character import Character

Format = Literal["auto", "alpaca", "openai", "sharegpt", "discord", "sillytavern", "character_ai"]
FORMATS = tuple(name for name in get_args(Format) if name != "auto")


def read_source(
    path: Path,
    format: Format = "auto",
    *,
    cast: Cast | None = None,
    persona: Character | None = None,
    bot_names: Sequence[str] = (),
    opted_out: frozenset[str] = frozenset(),
) -> list[Dialogue]:
    """The dialogues of a file in which a character replies.

    `format` `auto` looks at the first row. `persona` is the character whose words the file's bot
    speaks, its card standing at the top instead of what system message the file brings; without
    it, the bot's name is looked up in `cast`. `bot_names` are the characters among the authors of
    a Discord export, by default those marked as bots; what the people in `opted_out` (their author
    keys) said there is withheld, with the replies to it. Raises `InputError` with the line of what
    is not JSON, or the row and key of what is missing.
    """
    rows: Rows = iter(json_rows(path))
    first = next(iter(rows), None)
    if first is None:
        raise InputError(f"{path} is empty; it must hold dialogues.")
    rows = itertools.chain([first], rows)
    found = _detect(path, first[1]) if format == "auto" else format
    naming = Naming(cast, persona, tuple(bot_names))
    match found:
        case "discord":
            dialogues = discord_export(path, rows, naming, opted_out)
        case "sillytavern":
            dialogues = sillytavern(path, rows, naming)
        case "character_ai":
            dialogues = character_ai(path, rows, naming)
        case "openai":
            dialogues = openai(path, rows, persona)
        case "sharegpt":
            dialogues = sharegpt(path, rows, persona)
        case _:
            dialogues = alpaca(path, rows, persona)
    return list(dialogues)


def since(dialogues: Sequence[Dialogue], moment: float) -> list[Dialogue]:
    """`dialogues` without what was said before `moment` (Unix seconds); undated lines stay."""
    found = []
    for dialogue in dialogues:
        said = tuple(said for said in dialogue.said if said.at is None or said.at >= moment)
        if said:
            found.append(replace(dialogue, said=said))
    return found


def format_of(row: Any) -> Format | None:
    """The format of a file of which `row` is the first; None if it is not known."""
    if not isinstance(row, dict):
        return None
    keys = row.keys()
    if keys >= {"messages", "channel"}:
        return "discord"
    if "messages" in keys:
        return "openai"
    if "conversations" in keys:
        return "sharegpt"
    if keys & {"instruction", "output"}:
        return "alpaca"
    if keys & {"histories", "msgs", "turns"}:
        return "character_ai"
    if keys & {"chat_metadata", "mes", "is_user", "is_human"} or "character_name" in keys:
        return "sillytavern"
    return None


def _detect(path: Path, row: Any) -> Format:
    found = format_of(row)
    if found is not None:
        return found
    if not isinstance(row, dict):
        raise InputError(f"{path}, row 1 is {kind(row)}; {_known()}")
    held = ", ".join(repr(str(key)[:40]) for key in list(row)[:8]) or "nothing"
    raise InputError(f"The format of {path} is not known: its first row holds {held}; {_known()}")


def _known() -> str:
    return f"--format takes {', '.join(FORMATS)}."
