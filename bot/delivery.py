"""Replies as Discord messages: typing, a first post, then edits as the reply grows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import discord

from bot.faces import Faces
from bot.posting import Posts, attempt
from bot.reply_buttons import STOP, reply_view, stop_view
from bot.splitting import split
from bot.stage import Delivery, DeliveryError, DeliveryInterrupted, ReplyGone, ReplyRecord
from bot.told_once import ToldOnce
from bot.voices import Voices, Where
from config import Config
from db.channels import Channel
from db.database import Database
from db.messages import Message
from db.rewriting import Standing
from persona_prompts.cast import Cast

log = logging.getLogger(__name__)

NOTICE = "-# "  # small print: the bot's own words, which are no character's
PREFIX = "discord:"
_TYPING_SECONDS = 8.0  # Discord shows typing for ten
_FINAL_ATTEMPTS = 3
_PLAIN = ""  # what stands under a post that has no buttons

Look = Callable[[int], Awaitable[Standing]]


def channel_key(channel_id: int) -> str:
    return f"{PREFIX}{channel_id}"


def channel_id_of(key: str) -> int:
    return int(key.removeprefix(PREFIX))


def where_of(channel: Channel) -> Where:
    """The place of a channel that the memory knows."""
    guild = channel_id_of(channel.guild_key) if channel.guild_key else None
    parent = channel_id_of(channel.parent_key) if channel.parent_key else None
    return Where(channel_id_of(channel.key), guild, parent)


class DiscordStage:
    """Shows replies in the channels of one client, which is given once it exists."""

    def __init__(self, config: Config) -> None:
        self._settings = config.discord
        self._data = config.paths.data
        self._posts: Posts | None = None
        self._look: Look | None = None
        self._buttons: dict[int, int] = {}  # channel: the post that has the buttons
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, client: discord.Client, cast: Cast, database: Database) -> None:
        voices = Voices(client, Faces(cast), ToldOnce(self._data))
        self._posts = Posts(client, voices, webhooks=self._settings.webhooks)
        self._look = database.rewriting.standing

    @property
    def posts(self) -> Posts:
        """Raises `DeliveryInterrupted` before the client exists."""
        if self._posts is None:
            raise DeliveryInterrupted("Discord is not connected yet.")
        return self._posts

    def delivery(self, channel: Channel, question: Message | None, record: ReplyRecord) -> Delivery:
        return self._delivery(channel, question, record)

    def _delivery(
        self, channel: Channel, question: Message | None, record: ReplyRecord
    ) -> DiscordDelivery:
        posts, where = self.posts, where_of(channel)
        assert self._look is not None  # given together with the client
        return DiscordDelivery(
            posts,
            where,
            _only_post(question) if question is not None else None,
            record,
            self._settings.edit_interval_seconds,
            self._look,
            lambda post_id: self._move_buttons(where, post_id),
        )

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        # No nonce: what fails twice under one question is told twice.
        asked, text = _only_post(question), f"{NOTICE}{sentence}"[:2000]
        await attempt(lambda: self.posts.post(where_of(channel), text, asked, None))

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        await self._put(channel, record, text)

    async def show(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        await self._put(channel, record, text)

    async def _put(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        delivery = self._delivery(channel, None, record)
        try:
            await delivery.finish(text)
        finally:
            await delivery.close()

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        for post_id in reversed(posts):
            await self.posts.delete(where_of(channel), post_id)

    def _move_buttons(self, where: Where, post_id: int) -> None:
        """The buttons stand under this post now, and no more under the one before it."""
        before = self._buttons.get(where.channel)
        self._buttons[where.channel] = post_id
        if before is not None and before < post_id:
            task = asyncio.create_task(self._take_buttons(where, before))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take_buttons(self, where: Where, post_id: int) -> None:
        try:
            await self.posts.without_buttons(where, post_id)
        except DeliveryError as error:
            log.debug("Post %d keeps its buttons, which answer politely: %s", post_id, error)


class DiscordDelivery:
    """One reply.

    A task of its own writes to Discord, one request at a time, always what the text is by then.
    Edits are never closer together than `edit_interval` seconds, and the first post waits as long,
    so that a short reply is one message and no edit. A reply that goes on after a restart has its
    posts already: they are brought up to date once, when it is complete. One that is written anew
    streams in the posts that it has.
    """

    def __init__(
        self,
        posts: Posts,
        where: Where,
        question_post: int | None,
        record: ReplyRecord,
        edit_interval: float,
        look: Look,
        on_buttons: Callable[[int], None],
    ) -> None:
        self._posts = posts
        self._where = where
        self._question_post = question_post
        self._record = record
        self._interval = edit_interval
        self._look = look
        self._on_buttons = on_buttons
        self._text = record.shown if record.rewrites else ""
        self._last = STOP  # what stands under the last post; in the end, the versions there are
        self._standing = Standing(1, 1)
        # What each post shows, and what stands under it; None where that is not known.
        self._shown = self._found()
        self._resumed = bool(record.posts) and not record.rewrites
        self._changed = asyncio.Event()
        self._complete = asyncio.Event()
        self._next_edit = 0.0
        self._failures = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.Task[None] | None = None

    def _found(self) -> list[tuple[str | None, str | None]]:
        """What the posts of an earlier time show, as far as that is known."""
        pieces = split(self._text)
        count = len(self._record.posts)
        if len(pieces) != count:
            return [(None, None)] * count
        return [(piece, _PLAIN) for piece in pieces[:-1]] + [(pieces[-1], None)] if pieces else []

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
        await self._record.showing(text)
        self._standing = await self._look(self._record.id)
        versions = f"{self._standing.number}/{self._standing.of}"
        self._last = _PLAIN if self._record.passes else versions
        self._text = text
        self._complete.set()
        self._changed.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
            self._tasks = [self._writer]
        await self._writer
        if self._record.posts:
            self._on_buttons(self._record.posts[-1])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        # Their failures were raised by `update` or `finish`, if anybody still wanted the reply.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _type(self) -> None:
        """Show that a reply is coming, until the first of it is there."""
        before = self._record.shown
        while not self._complete.is_set() and (
            not self._shown or self._resumed or (self._record.rewrites and self._text == before)
        ):
            try:
                await self._posts.target(self._where).typing()
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
        """The first post that does not show its piece, or what belongs under it.

        Surplus posts count only in the end, or where other words take a reply's place.
        """
        for index, piece in enumerate(pieces):
            if index >= len(self._shown) or self._shown[index][0] != piece:
                return index
        if (complete or self._record.rewrites) and len(self._shown) > len(pieces):
            return len(self._shown) - 1
        for index in range(len(pieces)):
            if self._shown[index][1] != self._under(index, pieces):
                return index
        return None

    def _under(self, index: int, pieces: list[str]) -> str:
        return self._last if index == len(pieces) - 1 else _PLAIN

    def _view(self, under: str) -> discord.ui.View | None:
        if under == _PLAIN:
            return None
        reply_id = self._record.id
        return stop_view(reply_id) if under == STOP else reply_view(reply_id, self._standing)

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
                await self._edit(index, pieces[index], self._under(index, pieces))
            else:
                await self._create(index, pieces[index], self._under(index, pieces))
            self._failures = 0
        except DeliveryInterrupted as error:
            self._failures += 1
            if self._complete.is_set() and self._failures >= _FINAL_ATTEMPTS:
                raise
            log.info("Discord did not take a part of a reply, which is tried again: %s", error)
        self._next_edit = _now() + self._interval * max(1, self._failures)

    async def _create(self, index: int, piece: str, under: str) -> None:
        # The same reply gets the same nonce, also after a restart: Discord then gives back the
        # message that it has instead of making another.
        fresh = self._question_post is not None and not self._record.rewrites
        post = await self._posts.send(
            self._where,
            piece,
            persona=self._record.persona,
            name=self._record.name,
            asked=self._question_post if index == 0 else None,
            nonce=f"reply{self._record.id}:{index}" if fresh else None,
            view=self._view(under),
        )
        same = post.content.strip() == piece.strip()
        self._shown.append((piece if same else None, under if same else None))
        await self._record.posted(post.id)

    async def _edit(self, index: int, piece: str, under: str) -> None:
        post_id = self._record.posts[index]
        try:
            edited = await self._posts.edit(self._where, post_id, piece, self._view(under))
        except ReplyGone:
            await self._record.unposted(post_id)
            raise
        if not edited:
            await self._replace(index, post_id, piece, under)
        self._shown[index] = (piece, under)

    async def _replace(self, index: int, post_id: int, piece: str, under: str) -> None:
        """Another post for one whose webhook was deleted, so that nothing can edit it any more."""
        post = await self._posts.send(
            self._where,
            piece,
            persona=self._record.persona,
            name=self._record.name,
            view=self._view(under),
        )
        await self._record.reposted(index, post.id)
        try:
            await self._posts.delete(self._where, post_id)
        except DeliveryError as error:
            log.warning("Post %d stays, although another shows its text: %s", post_id, error)

    async def _remove(self, index: int) -> None:
        post_id = self._record.posts[index]
        await self._posts.delete(self._where, post_id)
        await self._record.unposted(post_id)
        self._shown.pop()


def _only_post(question: Message) -> int | None:
    return question.post_ids[0] if question.post_ids else None


def _now() -> float:
    return asyncio.get_running_loop().time()
