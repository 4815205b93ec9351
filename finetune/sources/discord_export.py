"""What DiscordChatExporter writes as JSON: one channel a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.errors import InputError
from finetune.sources.chat_rows import Rows
from finetune.sources.consent import Entry, agreed_parts
from finetune.sources.dialogue import Dialogue, Said, by_character
from finetune.sources.json_files import list_of, object_row, text_of
from finetune.sources.naming import Naming
from persona_prompts.prompt import Line
from persona_prompts.speakers import well_formed

# All else reports a join, a pin, a call, or answers a slash command, whose question is not there.
_SAID = ("Default", "Reply", "0", "19", 0, 19)
_PRIVATE = ("DirectTextChat", "1", 1)
_SPLIT_AT = 1800  # a post so long goes on in the next one: Discord takes 2,000 characters
_LIKE, _DISLIKE = "👍", "👎"


def discord_export(
    file: Path, rows: Rows, naming: Naming, opted_out: frozenset[str] = frozenset()
) -> Iterator[Dialogue]:
    """One dialogue for every character that speaks, until another takes over.

    Characters are the authors marked as bots, or those that the user names; other bots are left
    out. A post of a character that fills Discord's limit is joined with the next one. Posts of the
    people in `opted_out` (keys like `discord:123`) are withheld, and the replies to them. Who is
    only mentioned, or only joined, is `present`. An export with the newest post first is turned
    round.
    """
    for number, value in rows:
        row = object_row(file, number, value)
        channel = row.get("channel")
        if not isinstance(channel, dict):
            raise InputError(f"{file}, row {number} has no key 'channel' with an object.")
        present: dict[tuple[str, str], None] = {}
        found: list[Entry] = []
        for message in list_of(file, number, row, "messages"):
            present.update(dict.fromkeys(_people(message, naming)))
            said = _said(file, number, message, naming)
            if said is not None:
                found.append(said)
        lines: list[Entry] = []
        for said in reversed(found) if _newest_first(found) else found:
            _append(lines, said)
        source = f"discord:{channel.get('id', file.stem)}"
        group = channel.get("type") not in _PRIVATE
        parts, _ = agreed_parts(lines, opted_out)
        for agreed in parts:
            for name, part in by_character(agreed):
                character = naming.character(name)
                yield Dialogue(character, group, tuple(part), source, present=tuple(present))


def _newest_first(found: list[Entry]) -> bool:
    return bool(found) and (found[0].said.at or 0.0) > (found[-1].said.at or 0.0)


def _people(message: dict[str, Any], naming: Naming) -> Iterator[tuple[str, str]]:
    """Key and each name of the person who wrote a message and of those mentioned in it."""
    mentions = message.get("mentions")
    for user in (message.get("author"), *(mentions if isinstance(mentions, list) else ())):
        if not isinstance(user, dict) or "name" not in user or user.get("isBot") is True:
            continue
        names = _names(user)
        if not naming.is_bot(names, False):
            for name in dict.fromkeys(reversed(names)):
                yield _author(user), name


def _names(user: dict[str, Any]) -> tuple[str, str]:
    """A user's login and the name that is shown in the channel."""
    login = well_formed(str(user["name"]))
    return login, well_formed(str(user.get("nickname") or "")) or login


def _author(user: dict[str, Any]) -> str:
    return f"discord:{user.get('id', user['name'])}"


def _said(file: Path, number: int, message: dict[str, Any], naming: Naming) -> Entry | None:
    """The message, with the character's name if one said it; None for what nobody said."""
    if message.get("type", "Default") not in _SAID:
        return None
    content = well_formed(text_of(file, number, message, "content"))
    author = message.get("author")
    if not isinstance(author, dict) or "name" not in author:
        raise InputError(
            f"{file}, row {number}: message {message.get('id', '?')} has no 'author' with 'name'."
        )
    login, name = _names(author)
    marked = author.get("isBot") is True
    own = naming.is_bot((login, name), marked)
    if marked and not own:
        return None
    likes, dislikes = _votes(message.get("reactions"))
    said = Said(
        Line(name, content, own=own),
        teachable=own,
        author=_author(author),
        at=_time(file, message),
        likes=likes,
        dislikes=dislikes,
    )
    reference = message.get("reference")
    answered = reference.get("messageId") if isinstance(reference, dict) else None
    return Entry(said, name if own else "", _id(message.get("id")), _id(answered))


def _id(value: Any) -> str | None:
    return None if value is None else str(value)


def _append(lines: list[Entry], new: Entry) -> None:
    if new.character and lines and lines[-1].character == new.character:
        last, said = lines[-1].said, new.said
        if len(last.line.text) >= _SPLIT_AT:
            line = replace(last.line, text=f"{last.line.text}\n{said.line.text}")
            likes, dislikes = max(last.likes, said.likes), max(last.dislikes, said.dislikes)
            joined = replace(last, line=line, likes=likes, dislikes=dislikes)
            lines[-1] = replace(lines[-1], said=joined)
            return
    lines.append(new)


def _votes(reactions: Any) -> tuple[int, int]:
    counts = {_LIKE: 0, _DISLIKE: 0}
    for reaction in reactions if isinstance(reactions, list) else ():
        emoji = reaction.get("emoji") if isinstance(reaction, dict) else None
        name = str(emoji.get("name", ""))[:1] if isinstance(emoji, dict) else ""
        if name in counts and isinstance(reaction.get("count"), int):
            counts[name] += reaction["count"]  # skin tones count alike
    return counts[_LIKE], counts[_DISLIKE]


def _time(file: Path, message: dict[str, Any]) -> float:
    text = message.get("timestamp")
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"{file}: the 'timestamp' of message {message.get('id', '?')} is {str(text)[:40]!r},"
            " not a time like 2026-11-21T14:05:00+00:00."
        ) from None
