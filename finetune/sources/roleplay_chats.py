"""Chats of roleplay programs: SillyTavern's JSONL and Character.AI's exports.

SillyTavern: a first line about the chat, then a line a message (`name`, `is_user`, `mes`, with
`swipes` the other answers). Character.AI: `histories` of `msgs` as older exports have them, or
`turns` of `candidates` as newer ones do, in one object or a row each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.errors import InputError
from finetune.sources.chat_rows import Rows
from finetune.sources.dialogue import Dialogue, Said, by_character
from finetune.sources.json_files import list_of, object_row, text_of
from finetune.sources.naming import Naming
from persona_prompts.prompt import Line
from persona_prompts.speakers import well_formed

_TEXTS = ("mes", "text", "message", "content")
_HUMAN = ("is_user", "is_human", "isHuman")
_TIMES = (
    "%B %d, %Y %I:%M%p",
    "%B %d, %Y %I:%M %p",
    "%Y-%m-%d @%Hh %Mm %Ss %fms",
    "%Y-%m-%d@%Hh%Mm%Ss",
    "%Y-%m-%d@%Hh%Mm%Ss%fms",
)

_Lines = list[tuple[Said, str]]


def sillytavern(file: Path, rows: Rows, naming: Naming) -> Iterator[Dialogue]:
    """One chat a file; messages hidden from the model (`is_system`) are left out.

    A narrator's words (`/sys`) are heard like a person's, but nobody's: no character says them.
    """
    lines: _Lines = []
    for number, value in rows:
        row = object_row(file, number, value)
        if "chat_metadata" in row or ("character_name" in row and "mes" not in row):
            continue
        if row.get("is_system") is True:
            continue
        key = next((key for key in _TEXTS if key in row), _TEXTS[0])
        text = text_of(file, number, row, key)
        human = next((row[key] for key in _HUMAN if key in row), None)
        if not isinstance(human, bool):
            raise InputError(f"{file}, row {number} has no key 'is_user' of true or false.")
        extra = row.get("extra")
        narrated = isinstance(extra, dict) and extra.get("type") == "narrator"
        human = human or narrated
        name = "" if narrated else well_formed(str(row.get("name") or ""))
        swipes = row.get("swipes")
        others = swipes if isinstance(swipes, list) and not human else []
        lines.append(_line(name, text, human, at=_time(row.get("send_date")), variants=others))
    yield from _dialogues(lines, naming, file.name)


def character_ai(file: Path, rows: Rows, naming: Naming) -> Iterator[Dialogue]:
    """One dialogue a history."""
    count = 0
    for number, value in rows:
        for chat in _chats(file, number, object_row(file, number, value)):
            count += 1
            lines = _turns(file, number, chat) if "turns" in chat else _msgs(file, number, chat)
            yield from _dialogues(lines, naming, f"{file.name}#{count}")


def _chats(file: Path, number: int, row: dict[str, Any]) -> list[dict[str, Any]]:
    if "histories" not in row:
        return [row]
    if isinstance(row["histories"], dict):
        return _chats(file, number, row["histories"])
    return list_of(file, number, row, "histories")


def _msgs(file: Path, number: int, chat: dict[str, Any]) -> _Lines:
    lines: _Lines = []
    for message in list_of(file, number, chat, "msgs"):
        text = text_of(file, number, message, "text")
        source = message.get("src")
        if not isinstance(source, dict) or not isinstance(source.get("is_human"), bool):
            raise InputError(
                f"{file}, row {number}: a message of 'msgs' has no 'src' with 'is_human'."
            )
        if message.get("is_alternative") is True:
            if lines and lines[-1][1]:  # another answer to the same line
                last, name = lines[-1]
                lines[-1] = replace(last, variants=(*last.variants, well_formed(text))), name
            continue
        name = well_formed(str(source.get("name") or ""))
        at = _time(message.get("created"))
        lines.append(_line(name, text, source["is_human"], at=at))
    return lines


def _turns(file: Path, number: int, chat: dict[str, Any]) -> _Lines:
    lines: _Lines = []
    for turn in list_of(file, number, chat, "turns"):
        candidates = list_of(file, number, turn, "candidates")
        texts = {
            str(candidate.get("candidate_id", place)): text_of(
                file, number, candidate, "raw_content"
            )
            for place, candidate in enumerate(candidates)
        }
        if not texts:
            continue
        kept = texts.get(str(turn.get("primary_candidate_id")), next(iter(texts.values())))
        author = turn.get("author")
        author = author if isinstance(author, dict) else {}
        name = well_formed(str(author.get("name") or ""))
        human = author.get("is_human") is True
        at = _time(turn.get("create_time"))
        lines.append(_line(name, kept, human, at=at, variants=list(texts.values())))
    times = [said.at for said, _ in lines]
    if None not in times:  # exports list the newest turn first
        lines.sort(key=lambda line: line[0].at or 0.0)
    return lines


def _line(
    name: str, text: str, human: bool, *, at: float | None, variants: list[Any] | None = None
) -> tuple[Said, str]:
    kept = well_formed(text)
    found = [well_formed(other) for other in variants or [] if isinstance(other, str)]
    others = () if human else tuple(dict.fromkeys(o for o in found if o.strip() and o != kept))
    said = Said(
        Line(name, kept, own=not human),
        teachable=not human,
        author=name if human else "",
        at=at,
        variants=others,
    )
    return said, "" if human else name or "Assistant"


def _dialogues(lines: _Lines, naming: Naming, source: str) -> Iterator[Dialogue]:
    people = {said.author for said, character in lines if not character and said.author}
    for name, said in by_character(lines):
        yield Dialogue(naming.character(name), len(people) > 1, tuple(said), source)


def _time(value: Any) -> float | None:
    """Unix seconds of the ways in which these programs write a time; None for others."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value / 1000 if value > 1e11 else float(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(r"\d{12,14}", text):
        return int(text) / 1000
    for read in (datetime.fromisoformat, *(_reader(form) for form in _TIMES)):
        try:
            return read(text).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _reader(form: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, form)
