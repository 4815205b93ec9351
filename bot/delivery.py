"""Replies as Discord messages: typing, a first post, then edits as the reply grows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import aiohttp
import discord

from bot.splitting import split
from bot.stage import (
    Delivery,
    DeliveryInterrupted,
    DeliveryRefused,
    ReplyGone,
    ReplyRecord,
)
from db.channels import Channel
from db.messages import Message

log = logging.getLogger(__name__)

NOTICE = "-# "  # small print: the bot's own words, which are no character's
PREFIX = "discord:"
_TYPING_SECONDS = 8.0  # Discord shows typing for ten
_FINAL_ATTEMPTS = 3
_REPLY_NEEDS_HISTORY = 160002
_NOBODY = discord.AllowedMentions.none()

T = TypeVar("T")


def channel_key(channel_id: int) -> str:
    return f"{PREFIX}{channel_id}"


def channel_id_of(key: str) -> int:
    return int(key.removeprefix(PREFIX))


class DiscordStage:
    """Shows replies in the channels of one client, which is given once it exists."""

    def __init__(self, edit_interval: float) -> None:
        self._edit_interval = edit_interval
        self._client: discord.Client | None = None

    def attach(self, client: discord.Client) -> None:
        self._client = client

    def delivery(self, channel: Channel, question: Message, record: ReplyRecord) -> Delivery:
        return DiscordDelivery(
            self._target(channel), _only_post(question), record, self._edit_interval
        )

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        target, asked = self._target(channel), _only_post(question)
        nonce = f"{asked}:n" if asked else None
        await _attempt(lambda: _post(target, f"{NOTICE}{sentence}"[:2000], asked, nonce))

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        target = self._target(channel)
        for piece in split(text)[len(record.posts) :]:
            post = await _attempt(partial(_post, target, piece, None, None))
            await record.posted(post.id)

    def _target(self, channel: Channel) -> discord.PartialMessageable:
        if self._client is None:
            raise DeliveryInterrupted("Discord is not connected yet.")
        guild = channel_id_of(channel.guild_key) if channel.guild_key else None
        return self._client.get_partial_messageable(channel_id_of(channel.key), guild_id=guild)


class DiscordDelivery:
    """One reply.

    A task of its own writes to Discord, one request at a time, always what the text is by then.
    Edits are never closer together than `edit_interval` seconds, and the first post waits as long,
    so that a short reply is one message and no edit. A reply that goes on after a restart has its
    posts already: they are brought up to date once, when it is complete.
    """

    def __init__(
        self,
        target: discord.PartialMessageable,
        question_post: int | None,
        record: ReplyRecord,
        edit_interval: float,
    ) -> None:
        self._target = target
        self._question_post = question_post
        self._record = record
        self._interval = edit_interval
        # What each post shows; None for posts of an earlier run, whose text is not known.
        self._shown: list[str | None] = [None] * len(record.posts)
        self._resumed = bool(record.posts)
        self._text = ""
        self._changed = asyncio.Event()
        self._complete = asyncio.Event()
        self._next_edit = 0.0
        self._failures = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._writer = asyncio.create_task(self._write())
        self._tasks = [self._writer, asyncio.create_task(self._type())]

    def update(self, text: str) -> None:
        if self._writer is not None and self._writer.done():
            self._writer.result()  # raises the DeliveryError that ended it
        if self._resumed or not text:
            return
        if not self._text:
            self._next_edit = _now() + self._interval
        self._text = text
        self._changed.set()

    async def finish(self, text: str) -> None:
        self._text = text
        self._complete.set()
        self._changed.set()
        if self._writer is not None:
            await self._writer

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        # Their failures were raised by `update` or `finish`, if anybody still wanted the reply.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _type(self) -> None:
        """Show that a reply is coming, until the first of it is there."""
        while not self._shown or (self._resumed and not self._complete.is_set()):
            try:
                await self._target.typing()
            except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
                log.debug("Typing could not be shown: %s", error)
            await asyncio.sleep(_TYPING_SECONDS)

    async def _write(self) -> None:
        """Keep the posts at what the text is, until it is complete and shown."""
        while True:
            complete = self._complete.is_set()
            pieces = split(self._text)
            index = self._outdated(pieces, complete=complete)
            if index is None:
                if complete:
                    return
                self._changed.clear()
                await self._changed.wait()
            elif self._must_wait(index, complete=complete):
                await self._wait(index)
            else:
                await self._bring_up(index, pieces)

    def _outdated(self, pieces: list[str], *, complete: bool) -> int | None:
        """The first post that does not show its piece; surplus posts only in the end."""
        for index, piece in enumerate(pieces):
            if index >= len(self._shown) or self._shown[index] != piece:
                return index
        surplus = complete and len(self._shown) > len(pieces)
        return len(self._shown) - 1 if surplus else None

    def _must_wait(self, index: int, *, complete: bool) -> bool:
        is_edit = index < len(self._shown)
        may_grow = index == 0 and not complete
        return (is_edit or may_grow or self._failures > 0) and _now() < self._next_edit

    async def _wait(self, index: int) -> None:
        """Wait for the next edit; a first post need not wait once the reply is complete."""
        delay = max(0.0, self._next_edit - _now())
        if index < len(self._shown) or self._failures:
            await asyncio.sleep(delay)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), delay)

    async def _bring_up(self, index: int, pieces: list[str]) -> None:
        """Write, edit or remove one post; what can be tried again later is only counted."""
        await self._record.showing(self._text)
        try:
            if index >= len(pieces):
                await self._remove(index)
            elif index < len(self._shown):
                await self._edit(index, pieces[index])
            else:
                await self._create(index, pieces[index])
            self._failures = 0
        except DeliveryInterrupted as error:
            self._failures += 1
            if self._complete.is_set() and self._failures >= _FINAL_ATTEMPTS:
                raise
            log.info("Discord did not take a part of a reply, which is tried again: %s", error)
        self._next_edit = _now() + self._interval * max(1, self._failures)

    async def _create(self, index: int, piece: str) -> None:
        asked = self._question_post if index == 0 else None
        # The same question gets the same nonce, also after a restart: Discord then gives back the
        # message that it has instead of making another.
        nonce = f"{self._question_post}:{index}" if self._question_post else None
        post = await _attempt(lambda: _post(self._target, piece, asked, nonce))
        self._shown.append(piece if post.content.strip() == piece.strip() else None)
        await self._record.posted(post.id)

    async def _edit(self, index: int, piece: str) -> None:
        post = self._target.get_partial_message(self._record.posts[index])
        try:
            await _attempt(lambda: post.edit(content=piece, allowed_mentions=_NOBODY))
        except ReplyGone:
            await self._record.unposted(post.id)
            raise
        self._shown[index] = piece

    async def _remove(self, index: int) -> None:
        post = self._target.get_partial_message(self._record.posts[index])
        with suppress(ReplyGone):  # then it is what was wanted
            await _attempt(post.delete)
        await self._record.unposted(post.id)
        self._shown.pop()


async def _post(
    target: discord.PartialMessageable, text: str, asked: int | None, nonce: str | None
) -> discord.Message:
    """Send a message, as a reply to the post `asked` where Discord lets the bot reply.

    Without a nonce discord.py makes up one, which lasts for its own attempts.
    """
    send = partial(target.send, text, allowed_mentions=_NOBODY)
    if nonce is not None:
        send = partial(send, nonce=nonce)
    if asked is None:
        return await send()
    reference = discord.MessageReference(
        message_id=asked, channel_id=target.id, fail_if_not_exists=False
    )
    try:
        return await send(reference=reference)
    except discord.HTTPException as error:
        if error.code != _REPLY_NEEDS_HISTORY:
            raise
        return await send()


async def _attempt(request: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request; discord.py has waited for rate limits and tried 5xx again by then.

    Raises the `DeliveryError` that says whether another attempt makes sense.
    """
    try:
        return await request()
    except discord.NotFound as error:
        raise ReplyGone(f"{error}.") from error
    except (discord.DiscordServerError, discord.RateLimited) as error:
        raise DeliveryInterrupted(f"{error}.") from error
    except discord.HTTPException as error:
        kind = DeliveryInterrupted if error.status == 429 else DeliveryRefused
        raise kind(f"{error}.") from error
    except (aiohttp.ClientError, OSError) as error:  # OSError: timeouts too
        raise DeliveryInterrupted(f"{type(error).__name__}: {error}.") from error


def _only_post(question: Message) -> int | None:
    return question.post_ids[0] if question.post_ids else None


def _now() -> float:
    return asyncio.get_running_loop().time()
