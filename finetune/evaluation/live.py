"""The real log as dialogues to be measured: what the bot said in its channels, by adapter.

Nothing is learnt from it and nothing leaves the machine, so this is no matter of consent to
training; a message that was forgotten is not in the database any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from config import Config
from db.channels import Channel
from db.database import Database
from db.messages import Message
from finetune.errors import InputError
from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Ending, Reply, Transcript
from persona_prompts.cast import Cast
from persona_prompts.character import CharacterError
from persona_prompts.prompt import fill_macros

SILENCE_SECONDS = 30 * 60.0  # after which what is said begins a new dialogue
_DAY = 86_400.0
_SHOWN_CHANNELS = 12


async def read_live(
    config: Config, cast: Cast, *, channel: str | None = None, days: int | None = None
) -> list[Transcript]:
    """The dialogues in `channel` (`discord:123`, a bare Discord id; None: everywhere).

    Only what was said in the last `days`, if given. A dialogue ends where the channel fell silent
    for half an hour, where another character took over, and where the adapter changed; each reply
    stands behind what was said since the one before it. Raises `InputError` if there is no such
    channel or no reply, and `DatabaseError`.
    """
    file = config.database_file
    if not file.exists():
        raise InputError(
            f"There is no database {file} yet; talk with a character first, or check paths.data."
        )
    since = 0.0 if days is None else time.time() - days * _DAY
    found: list[Transcript] = []
    patience = config.database.busy_timeout_seconds
    async with await Database.open(file, busy_timeout_seconds=patience) as database:
        for place in await _channels(database, channel):
            async for scene in database.messages.scenes(place.id, since=since):
                found += _transcripts(scene, place, cast, len(found))
    if not found:
        where = f"the channel {channel}" if channel else "the log"
        when = "" if days is None else f" of the last {days} days"
        raise InputError(f"There is no reply{when} in {where}; talk with a character first.")
    return found


async def _channels(database: Database, wanted: str | None) -> list[Channel]:
    known = await database.channels.all()
    if wanted is None:
        return known
    key = f"discord:{wanted}" if wanted.isdecimal() else wanted
    chosen = [channel for channel in known if channel.key == key]
    if not chosen:
        names = ", ".join(channel.key for channel in known[:_SHOWN_CHANNELS]) or "none at all yet"
        raise InputError(f"There is no channel {key!r} in the log; there are {names}.")
    return chosen


@dataclass(slots=True)
class LoggedDialogue:
    """What one character said through one adapter: `said[k]` answers `asked[k]`."""

    persona: str
    adapter: str
    asked: list[str] = field(default_factory=list)
    said: list[Message] = field(default_factory=list)


def dialogues(scene: Iterable[Message]) -> Iterator[LoggedDialogue]:
    """The dialogues of a scene; see `read_live` for where one ends."""
    current: LoggedDialogue | None = None
    heard: list[str] = []
    last = None
    for message in scene:
        if last is not None and message.created_at - last > SILENCE_SECONDS:
            if current is not None:
                yield current
            current, heard = None, []
        last = message.created_at
        if message.role == "user":
            heard.append(message.content)
            continue
        key = message.persona or "", message.adapter or "base"
        if current is None or (current.persona, current.adapter) != key:
            if current is not None:
                yield current
            current = LoggedDialogue(*key)
        current.asked.append("\n".join(heard))
        current.said.append(message)
        heard = []
    if current is not None:
        yield current


def _transcripts(
    scene: Iterable[Message], channel: Channel, cast: Cast, first: int
) -> Iterator[Transcript]:
    for number, part in enumerate(dialogues(scene), start=first + 1):
        replies = tuple(Reply(message.content, ending(message)) for message in part.said)
        yield Transcript(user_of(part, channel, cast, number), part.adapter, replies)


def ending(message: Message) -> Ending:
    """How a logged reply ended; one that is not complete ended in an error."""
    if message.state != "complete":
        return "error"
    for known in ("stop", "length", "cancelled", "error"):
        if message.finish_reason == known:
            return known
    return "unknown"


def user_of(part: LoggedDialogue, channel: Channel, cast: Cast, number: int) -> ScriptedUser:
    """Who talked with which character, as a suite would say it; `number` tells dialogues apart."""
    name, aliases, persona = part.said[0].author_name, [], ""
    try:
        character = cast.get(part.persona)
    except CharacterError:
        pass  # gone from the cast; its name in the log is what is still known
    else:
        name, aliases = character.name, list(character.aliases)
        texts = (character.description, character.personality, character.scenario)
        persona = "\n".join(fill_macros(text, name, "") for text in texts if text)
    # A log may hold a reply to nothing, which no script has.
    return ScriptedUser.model_construct(
        id=f"{channel.key}#{number}",
        name=name,
        aliases=aliases,
        persona=persona,
        user_turns=part.asked,
        language="",
    )
