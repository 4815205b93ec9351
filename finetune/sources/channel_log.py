"""Channels' logs as dialogues: who said what, and which replies a character can learn from.

Only what was agreed to is read: a channel whose server (or person, in direct messages) has not
agreed is left out, and a message of somebody who opted out is seen by nothing that follows. The
dialogue is cut there, and the replies that were given to it are left out too, since they may quote
it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config import Config
from db.channels import Channel
from db.database import Database
from db.feedback import Variant
from db.messages import Message as Logged
from finetune.errors import InputError
from finetune.sources.consent import Entry, agreed_parts
from finetune.sources.dialogue import Dialogue, Finish, Said, by_character
from persona_prompts.cast import Cast
from persona_prompts.prompt import Line
from persona_prompts.speakers import clean_text

_EVERYTHING = 2**62  # messages
_SHOWN_CHANNELS = 12


@dataclass(frozen=True, slots=True)
class ChannelLog:
    """Everything in some channels that may be learnt from, and what was left out for consent."""

    keys: tuple[str, ...]
    dialogues: tuple[Dialogue, ...]
    refused: tuple[str, ...] = ()  # keys of channels that have not agreed
    withheld: int = 0  # messages of people who opted out, and the replies to them

    @property
    def replies(self) -> int:
        return sum(dialogue.replies for dialogue in self.dialogues)

    @property
    def character_id(self) -> str:
        """The character with the most replies."""
        spoken: Counter[str] = Counter()
        for dialogue in self.dialogues:
            spoken[dialogue.character.id] += dialogue.replies
        return spoken.most_common(1)[0][0]


async def read_channel(
    config: Config, cast: Cast, key: str, *, since: float | None = None
) -> ChannelLog:
    """The log of channel `key`; the database is only read, so the bot may run meanwhile.

    A key of digits alone is a Discord channel's id; messages before `since` (Unix seconds) are
    left out. Raises `InputError` if there is no such channel, it has not agreed to be learnt from,
    or there is no reply in it to learn from, `CharacterError` if its character is gone, and
    `DatabaseError`.
    """
    return await read_channels(config, cast, [key], since=since)


async def read_channels(
    config: Config, cast: Cast, keys: Sequence[str] | None = None, *, since: float | None = None
) -> ChannelLog:
    """The logs of `keys`, or of every channel that agreed; as `read_channel`.

    A channel asked for by its key that has not agreed is an `InputError`; of all, such channels
    are left out and named in `refused`.
    """
    file = config.database_file
    if not file.exists():
        raise InputError(
            f"There is no database {file} yet; talk with a character first, or check paths.data."
        )
    patience = config.database.busy_timeout_seconds
    async with await Database.open(file, busy_timeout_seconds=patience) as database:
        withheld = await database.consent.opted_out() | config.bot.blocked_keys
        reader = _Reader(database, cast, _kept(config, since), withheld)
        if keys is None:
            return await reader.every()
        return await reader.named([f"discord:{key}" if key.isdecimal() else key for key in keys])


async def opted_out(config: Config) -> frozenset[str]:
    """The keys of everybody who opted out or is blocked by the configuration.

    Raises `DatabaseError`.
    """
    file = config.database_file
    if not file.exists():
        return config.bot.blocked_keys
    patience = config.database.busy_timeout_seconds
    async with await Database.open(file, busy_timeout_seconds=patience) as database:
        return await database.consent.opted_out() | config.bot.blocked_keys


def _kept(config: Config, since: float | None) -> float | None:
    """`since`, or from when on messages may be kept, where that is later (Unix seconds)."""
    oldest = config.privacy.oldest(time.time())
    if oldest is None or since is None:
        return since if oldest is None else oldest
    return max(since, oldest)


class _Reader:
    """Reads channels of one database for one cast."""

    def __init__(
        self, database: Database, cast: Cast, since: float | None, opted_out: frozenset[str]
    ) -> None:
        self._database = database
        self._cast = cast
        self._since = since
        self._opted_out = opted_out
        self._withheld = 0

    async def named(self, keys: Sequence[str]) -> ChannelLog:
        dialogues: list[Dialogue] = []
        for key in dict.fromkeys(keys):
            channel = await self._database.channels.get(key)
            if channel is None:
                raise InputError(_no_channel(key, await self._database.channels.all()))
            if not await self._database.consent.trainable(channel):
                raise InputError(_not_agreed(channel))
            found = await self._dialogues(channel)
            if not any(dialogue.replies for dialogue in found):
                raise InputError(
                    f"The channel {key} holds no finished reply of a character to learn from; talk"
                    " with one there first."
                )
            dialogues += found
        return ChannelLog(tuple(dict.fromkeys(keys)), tuple(dialogues), (), self._withheld)

    async def every(self) -> ChannelLog:
        channels = await self._database.channels.all()
        agreed = [c for c in channels if await self._database.consent.trainable(c)]
        refused = tuple(channel.key for channel in channels if channel not in agreed)
        dialogues = [found for channel in agreed for found in await self._dialogues(channel)]
        if not any(dialogue.replies for dialogue in dialogues):
            raise InputError(_nothing(len(channels), len(agreed)))
        keys = tuple(channel.key for channel in agreed)
        return ChannelLog(keys, tuple(dialogues), refused, self._withheld)

    async def _dialogues(self, channel: Channel) -> list[Dialogue]:
        # A scene that ended is still worth learning from.
        everything = replace(channel, scene_start=0)
        log = await self._database.messages.history(everything, limit=_EVERYTHING)
        log = [message for message in log if not message.passing]
        refused = self._opted_out | await self._blocked(channel)
        votes = await self._database.feedback.votes(channel.id)
        variants: dict[int, list[Variant]] = {}
        for variant in await self._database.feedback.of_channel(channel.id):
            variants.setdefault(variant.message_id, []).append(variant)
        present = dict.fromkeys(
            (message.author_key, message.author_name) for message in log if message.role == "user"
        )
        earlier = [message for message in log if message.place <= channel.scene_start]
        now = [message for message in log if message.place > channel.scene_start]
        found = []
        for scene in (earlier, now):
            entries = (_entry(message, votes, variants) for message in scene)
            parts, withheld = agreed_parts(entries, refused)
            self._withheld += withheld
            for part in parts:
                lines = [one for one in part if self._in_time(one[0])]
                for persona, said in by_character(lines):
                    character = self._cast.get(persona)
                    found.append(
                        Dialogue(
                            character,
                            channel.group,
                            tuple(said),
                            source=channel.key,
                            present=tuple(present),
                        )
                    )
        return [dialogue for dialogue in found if dialogue.replies]

    async def _blocked(self, channel: Channel) -> frozenset[str]:
        """The keys of those who are blocked on the channel's server."""
        if channel.guild_key is None:
            return frozenset()
        blocks = await self._database.blocks.of(channel.guild_key)
        return frozenset(block.author_key for block in blocks)

    def _in_time(self, said: Said) -> bool:
        return self._since is None or said.at is None or said.at >= self._since


def _entry(
    message: Logged,
    votes: Mapping[int, tuple[int, int]],
    variants: Mapping[int, Sequence[Variant]],
) -> Entry:
    said = _said(message, votes, variants)
    return Entry(said, message.persona or "", message.id, message.reply_to)


def _said(
    message: Logged,
    votes: Mapping[int, tuple[int, int]],
    variants: Mapping[int, Sequence[Variant]],
) -> Said:
    likes, dislikes = votes.get(message.id, (0, 0))
    own = message.role == "character"
    return Said(
        Line(message.author_name, message.content, own=own),
        teachable=own and message.reply_to is not None,
        finish=_finish(message.state, message.finish_reason),
        author=message.author_key,
        at=message.created_at,
        likes=likes,
        dislikes=dislikes,
        variants=_rejected(message, variants.get(message.id, ())),
    )


def _finish(state: str, reason: str | None) -> Finish:
    """What a crash or a cancellation left unfinished counts as broken off by an error."""
    if state != "complete" or reason not in ("stop", "length", None):
        return "error"
    return "length" if reason == "length" else "stop"


def _rejected(message: Logged, variants: Sequence[Variant]) -> tuple[str, ...]:
    """The finished variants that are not what the channel kept."""
    texts = (
        variant.content
        for variant in variants
        if _finish("complete", variant.finish_reason) == "stop" and clean_text(variant.content)
    )
    return tuple(dict.fromkeys(text for text in texts if text != message.content))


def _no_channel(key: str, known: list[Channel]) -> str:
    if not known:
        return f"There is no channel {key!r}; the database holds no channel at all yet."
    names = [f"{channel.key} ({channel.name})" for channel in known[:_SHOWN_CHANNELS]]
    more = len(known) - len(names)
    rest = f" and {more} more" if more else ""
    return f"There is no channel {key!r}; there are {', '.join(names)}{rest}."


def _not_agreed(channel: Channel) -> str:
    if channel.kind == "dm":
        return (
            f"The channel {channel.key} is a private talk whose user has not agreed to be learnt"
            " from; they say `/privacy server on` there to agree."
        )
    return (
        f"The channel {channel.key} has not agreed to be learnt from; an administrator of its"
        " server says `/privacy server on` there to agree."
    )


def _nothing(channels: int, agreed: int) -> str:
    if not channels:
        return "The database holds no channel yet; talk with a character first."
    if not agreed:
        return (
            f"None of the {channels} channels has agreed to be learnt from; an administrator says"
            " `/privacy server on` in a server to agree."
        )
    return (
        f"None of the {agreed} channels that agreed (of {channels}) holds a finished reply of a"
        " character to learn from; talk with one there first."
    )
