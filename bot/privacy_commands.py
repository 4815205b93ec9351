"""What people may know, take back and allow: `/privacy`, as functions that know no Discord.

Whether somebody may decide for a server or a channel is the front end's question.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TypeVar

from bot.answers import Answer, Attachment
from bot.errors import CommandError
from bot.incoming import TERMINAL_AUTHOR, Place
from bot.turn import Turns
from config import Config
from db.channels import Channel
from db.database import Database

Value = TypeVar("Value")

CONFIRMATION = "me"  # the word behind `forget` without which nothing is deleted
TERMINAL_HISTORY = "terminal_history"  # what was typed at the prompt, for the arrow keys
SWITCH = {"on": True, "off": False}
LOGGED = ("me", "channel", "server")  # whose words are logged or not
CHANNEL_SWITCH: dict[str, bool | None] = {**SWITCH, "inherit": None}


class PrivacyCommands:
    """The commands under `/privacy`. `author` is the key of whoever uses one."""

    def __init__(self, config: Config, database: Database, turns: Turns) -> None:
        self._config = config
        self._database = database
        self._consent = database.consent
        self._unlogged = database.unlogged
        self._turns = turns

    async def show(self, place: Place, author: str) -> Answer:
        """How much is held of a person, and whether what they say here may be learnt from."""
        channel = await self._turns.channel(place)
        logging = await self._logging(channel, author)
        return Answer(
            f"I hold {await self._held(author)} of yours. {f'{logging} ' if logging else ''}"
            f"{await self._use(channel, author)}"
        )

    async def export(self, author: str) -> Answer:
        """All that is held of a person, as a JSON file."""
        held = await self._database.privacy.export_author(author)
        content = await asyncio.to_thread(_as_json, held)
        name = time.strftime("troupe-privacy-%Y%m%d-%H%M%S.json", time.gmtime())
        return Answer("Here is everything that I hold of you.", file=Attachment(name, content))

    async def forget(self, author: str, confirmation: str) -> Answer:
        """Delete all that is held of a person, once they confirmed it."""
        held = await self._held(author)
        if confirmation != CONFIRMATION:
            raise CommandError(
                f"That deletes {held} of yours for good; if you are sure, it is `/privacy forget"
                f" {CONFIRMATION}`."
            )
        await self._turns.forget(author)
        if author == TERMINAL_AUTHOR:
            self._forget_typed_lines()
        kept = []
        if await self._consent.author(author) is False:
            kept.append("that nothing of yours may be used for training")
        if not await self._unlogged.logs_author(author):
            kept.append("that nothing of yours is to be logged")
        if await self._database.blocks.anywhere(author):
            kept.append("where you are blocked")
        stays = f" I only keep in mind {' and '.join(kept)}." if kept else ""
        return Answer(f"It is gone: I deleted {held} of yours.{stays}")

    async def training(self, place: Place, author: str, word: str) -> Answer:
        """A person's own word; in a direct message, a yes also agrees to that conversation."""
        allowed = _meaning(word, SWITCH, "training")
        channel = await self._turns.channel(place)
        async with self._database.transaction():
            await self._consent.set_author(author, allowed)
            if allowed and place.kind == "dm":
                await self._consent.set_server(place.key, True, by=author)
        if not allowed:
            return Answer(
                "From now on nothing of yours is used for training, whatever a server allows."
                " Adapters that were trained before stay as they are."
            )
        return Answer(f"Thank you! {await self._use(channel, author)}")

    async def logging(self, place: Place, author: str, word: str, whose: str = LOGGED[0]) -> Answer:
        """Whether anything is kept of what a person says, or is said in a channel or a server."""
        logged = _meaning(word, SWITCH, "logging")
        channel = await self._turns.channel(place)
        match whose:
            case "me":
                await self._unlogged.set("author", author, logged)
            case "channel":
                await self._unlogged.set("channel", channel.key, logged)
            case "server" if channel.guild_key is not None:
                await self._unlogged.set("server", channel.guild_key, logged)
            case "server":
                raise CommandError("There is no server here; leave the word server out.")
            case _:
                raise CommandError(f"/privacy logging {word} takes channel, server or nothing.")
        if author == TERMINAL_AUTHOR and not logged:
            self._forget_typed_lines()
        now = await self._logging(channel, author)
        if now and logged:
            return Answer(f"Noted; but still: {now}")
        earlier = "What I hold from before stays; `/privacy forget me` deletes what is yours."
        return Answer(f"{now} {earlier}" if now else "What you say here is remembered.")

    async def server(self, place: Place, author: str, word: str) -> Answer:
        """An administrator's word for all channels of a server."""
        allowed = _meaning(word, SWITCH, "server")
        if place.guild_key is None:
            raise CommandError(
                "There is no server here; your own word for what you say is `/privacy training`."
            )
        await self._consent.set_server(place.guild_key, allowed, by=author)
        if not allowed:
            return Answer("Nothing that is said on this server is used for training any more.")
        return Answer(
            "What is said on this server may now be used to train the characters. Channels can stay"
            " out with `/privacy channel off`, and everybody for themselves with `/privacy training"
            " off`."
        )

    async def channel(self, place: Place, author: str, word: str) -> Answer:
        """The word for one channel and its threads."""
        allowed = _meaning(word, CHANNEL_SWITCH, "channel")
        channel = await self._turns.channel(place)
        await self._consent.set_channel(channel.id, allowed)
        return Answer(await self._use(channel, author))

    async def _held(self, author: str) -> str:
        held = await self._database.privacy.held_of(author)
        kept = f", {_count(held.kept, 'fact or note')}" if held.kept else ""
        return f"{_count(held.messages, 'message')} and {_count(held.votes, 'vote')}{kept}"

    async def _logging(self, channel: Channel, author: str) -> str:
        """That nothing is kept of what `author` says here, and why; empty if it is."""
        reasons = await self._unlogged.reasons(channel, author)
        if not reasons:
            return ""
        who = {"author": "you", "channel": "this channel", "server": "this server"}
        because = " and ".join(
            who[scope] for scope in ("author", "channel", "server") if scope in reasons
        )
        minutes = self._config.privacy.unlogged_minutes
        return (
            f"What you say here is not logged, because {because} opted out: it is answered, known"
            f" while the talk lasts, and gone after {minutes:g} minutes of silence."
        )

    async def _use(self, channel: Channel, author: str) -> str:
        """Whether what is said here may be learnt from, what `author` says included."""
        if await self._consent.author(author) is False:
            return "Nothing of yours is used for training, because you opted out."
        if await self._consent.trainable(channel):
            return (
                "What is said here may be used to train the characters; `/privacy training off`"
                " keeps out what you say."
            )
        nothing = "Nothing that is said here is used for training"
        if await self._consent.channel(channel.id) is False:
            return f"{nothing}; `/privacy channel inherit` takes that back."
        if channel.kind == "dm":
            return f"{nothing} unless you agree to it with `/privacy training on`."
        agreed = channel.guild_key is not None and await self._consent.server(channel.guild_key)
        if channel.kind in ("guild", "thread") and not agreed:
            return (
                f"{nothing}, because nobody who manages this server has agreed to it with"
                " `/privacy server on`."
            )
        return f"{nothing}."

    def _forget_typed_lines(self) -> None:
        file = self._config.paths.data / TERMINAL_HISTORY
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise CommandError(
                f"What I remembered is deleted, but {file} is not ({error.strerror or error});"
                " delete it by hand."
            ) from None


def _meaning(word: str, values: Mapping[str, Value], command: str) -> Value:
    if word not in values:
        *others, last = values
        raise CommandError(f"/privacy {command} takes {', '.join(others)} or {last}.")
    return values[word]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing.replace(' or ', 's or ')}s"


def _as_json(held: dict[str, object]) -> bytes:
    return json.dumps(held, ensure_ascii=False, indent=1).encode()
