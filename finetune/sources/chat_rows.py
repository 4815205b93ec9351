"""Files of which every row is a whole chat: Alpaca, OpenAI messages and ShareGPT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import InputError
from finetune.sources.dialogue import NOBODY, Dialogue, Said, by_character, speaking_as
from finetune.sources.json_files import kind, list_of, object_row, text_of
from persona_prompts.character import Character
from persona_prompts.prompt import Line
from persona_prompts.speakers import well_formed

Rows = Iterable[tuple[int, Any]]

_SYSTEM = ("system", "developer")
_USER = ("user", "human", "prompter")
_ASSISTANT = ("assistant", "gpt", "chatgpt", "bot", "model", "bing", "bard")
_SILENT = ("tool", "function", "function_call", "observation")  # what no person reads
_OWN = "assistant"


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    text: str
    name: str = ""
    teachable: bool = True


def alpaca(
    file: Path, rows: Rows, character: Character | None, input_heading: str = ""
) -> Iterator[Dialogue]:
    """`instruction`, `input` (may be left out) and `output`.

    The input stands below the instruction, under `input_heading` if there is one.
    """
    for number, value in rows:
        row = object_row(file, number, value)
        asked = [text_of(file, number, row, "instruction")]
        answer = text_of(file, number, row, "output")
        if "input" in row:
            given = text_of(file, number, row, "input")
            asked.append(f"{input_heading}\n{given}" if input_heading and given.strip() else given)
        question = "\n\n".join(part for part in asked if part.strip())
        messages = [_Message("user", question), _Message(_OWN, answer)]
        yield from _dialogue(file, number, messages, character)


def openai(file: Path, rows: Rows, character: Character | None) -> Iterator[Dialogue]:
    """`messages` of `role` and `content`; a reply of `weight` 0 is read but not taught.

    `name` beside them is the character's, which the system message describes.
    """
    for number, value in rows:
        row = object_row(file, number, value)
        messages = [
            _Message(
                _role(file, number, text_of(file, number, message, "role")),
                _content(file, number, message),
                str(message.get("name") or ""),
                message.get("weight") != 0,
            )
            for message in list_of(file, number, row, "messages")
        ]
        name = text_of(file, number, row, "name") if "name" in row else ""
        yield from _dialogue(file, number, messages, character, name)


def sharegpt(file: Path, rows: Rows, character: Character | None) -> Iterator[Dialogue]:
    """`conversations` of `from` and `value`, or of `role` and `content`; `system` beside them.

    A reply of `weight` 0 is read but not taught.
    """
    for number, value in rows:
        row = object_row(file, number, value)
        turns = list_of(file, number, row, "conversations")
        messages = []
        if isinstance(row.get("system"), str) and row["system"].strip():
            messages.append(_Message("system", row["system"]))
        for turn in turns:
            by, text = ("role", "content") if "role" in turn else ("from", "value")
            role = _role(file, number, text_of(file, number, turn, by))
            said = text_of(file, number, turn, text)
            messages.append(_Message(role, said, teachable=turn.get("weight") != 0))
        yield from _dialogue(file, number, messages, character)


def _role(file: Path, row: int, said: str) -> str:
    names = {_SYSTEM: "system", _USER: "user", _ASSISTANT: _OWN, _SILENT: ""}
    for known, role in names.items():
        if said.lower() in known:
            return role
    raise InputError(
        f"{file}, row {row}: {said!r} is no known speaker; use system, user or assistant."
    )


def _content(file: Path, row: int, message: dict[str, Any]) -> str:
    """A message's text; of one in parts, the parts that are text."""
    content = message.get("content", "" if "tool_calls" in message else None)
    if content is None and message.keys() >= {"content"}:
        return ""  # a call of a tool says nothing
    if isinstance(content, list):
        parts = list_of(file, row, message, "content")
        return "\n".join(text_of(file, row, part, "text") for part in parts if "text" in part)
    if content is not None and not isinstance(content, str):
        raise InputError(f"{file}, row {row}: 'content' is {kind(content)}; it must be text.")
    return content if content is not None else text_of(file, row, message, "content")


def _dialogue(
    file: Path, row: int, messages: list[_Message], character: Character | None, name: str = ""
) -> Iterator[Dialogue]:
    """The chat as the character's own, or as that of whom its system message describes."""
    system = "\n".join(m.text.strip() for m in messages if m.role == "system" and m.text.strip())
    who = character or (speaking_as(well_formed(system), name) if system else NOBODY)
    lines = []
    for message in messages:
        if message.role in ("user", _OWN):
            own = message.role == _OWN
            line = Line(message.name, well_formed(message.text), own=own)
            said = Said(line, teachable=own and message.teachable, author=message.name)
            lines.append((said, _OWN if own else ""))
    for _, said_lines in by_character(lines):
        yield replace(
            Dialogue(who, group=False, said=tuple(said_lines), named=who.name != NOBODY.name),
            source=f"{file.name}#{row}",
            card_from_file=character is None,
        )
