"""`/memory`, `/summary`, `/note` and `/lore` as lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bot.answers import Answer
from bot.direction_commands import DirectionCommands
from bot.incoming import Place
from bot.lore_commands import LoreCommands
from bot.memory_commands import MemoryCommands, Teller


class Commands(Protocol):
    """What these lines need of `bot.commands.Commands`."""

    memory: MemoryCommands
    direction: DirectionCommands
    lore: LoreCommands


async def memory_line(commands: Commands, place: Place, who: Teller, line: str) -> Answer | None:
    """A line that begins with /memory or /summary; None if it is no such command."""
    memory = commands.memory
    match _parts(line):
        case "memory", "list", "", _:
            return await memory.facts(place)
        case "memory", "why", "", _:
            return await memory.why(place)
        case "memory", "add", text, _ if text:
            return await memory.add(place, who, text)
        case "memory", ("pin" | "unpin") as what, number, "" if number.isdecimal():
            return await memory.pin(place, who, int(number), pinned=what == "pin")
        case "memory", "forget", number, "" if number.isdecimal():
            return await memory.forget(place, who, int(number))
        case "memory", "correct", rest, text if text:
            number = rest.split()[0]
            if number.isdecimal():
                return await memory.correct(place, who, int(number), text)
        case "summary", "show", "", _:
            return await memory.summary(place)
        case "summary", "set", text, _ if text:
            return await memory.set_summary(place, who, text)
        case "summary", "clear", "", _:
            return await memory.clear_summary(place, who)
        case "summary", "redo", "", _:
            return await memory.redo_summary(place, who)
    return None


async def direction_line(commands: Commands, place: Place, who: Teller, line: str) -> Answer | None:
    """A line that begins with /note or /lore; None if it is no such command."""
    direction, lore = commands.direction, commands.lore
    match _parts(line):
        case "note", "show", "", _:
            return await direction.note(place)
        case "note", "set", text, _ if text:
            return await direction.set_note(place, who, text)
        case "note", "depth", number, "" if number.isdecimal():
            return await direction.set_depth(place, who, int(number))
        case "note", "clear", "", _:
            return await direction.clear_note(place, who)
        case "lore", "list", "", _:
            return await lore.list(place)
        case "lore", "remove", which, "" if which:
            return await lore.remove(place, who, which)
        case "lore", "import", file, _ if file:
            file, id = _file_and_id(file)
            return await lore.import_file(place, who, Path(file), id=id)
        case "lore", "export", name, "" if name:
            return await lore.export(place, name)
        case "lore", "add", rest, _ if "=" in rest:
            keys, _, text = rest.partition("=")
            return await lore.add(place, who, keys, text)
    return None


def _file_and_id(rest: str) -> tuple[str, str]:
    """`FILE [as ID]`; the file's name may hold spaces."""
    match rest.rsplit(maxsplit=2):
        case [file, word, id] if word.lower() == "as":
            return file, id
    return rest.strip(), ""


def _parts(line: str) -> tuple[str, str, str, str]:
    """The command, what to do, all behind that, and of this all behind its first word."""
    words = line.removeprefix("/").strip().split(maxsplit=2)
    command, what, rest = (*words, "", "", "")[:3]
    behind = rest.split(maxsplit=1)
    return command.lower(), what.lower(), rest, behind[1] if len(behind) > 1 else ""
