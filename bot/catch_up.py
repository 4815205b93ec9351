"""After a restart or a lost session: hear what was missed, then answer what is owed.

Discord repeats missed events only when a session is resumed. For a new session every known channel
is read back here, and nothing new is heard in a channel before that is done, so that the memory
keeps the channel's order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import aiohttp
import discord

from bot.delivery import NOTICE, PREFIX, channel_id_of, channel_key
from bot.hearing import Hearing
from bot.incoming import Place
from bot.stage import ReplyRecord
from bot.startup import Company
from db.channels import Channel
from db.database import DatabaseError
from db.messages import Message
from persona_prompts.character import CharacterError

log = logging.getLogger(__name__)

_AT_ONCE = 4  # channels read at the same time; Discord limits requests as a whole
_SAID_BACK = 20  # messages of a channel among which a greeting without a post is looked for


class CatchUp:
    """The catching up of one client; one run for every new session of a shard."""

    def __init__(
        self, behind: Company, client: discord.AutoShardedClient, hearing: Hearing
    ) -> None:
        self._behind = behind
        self._client = client
        self._hearing = hearing
        self._sessions: dict[int, asyncio.Task[dict[str, asyncio.Task[None]]]] = {}
        self._readings: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def begin(self, shard: int) -> None:
        """A new session of this shard has begun; call it before any of its events is handled."""
        before = self._sessions.get(shard)
        starting = self._start(shard, before)
        self._sessions[shard] = asyncio.create_task(starting, name=f"catch-up {shard}")

    async def done(self, channel_id: int, guild_id: int | None) -> None:
        """Wait until the channel has been read back, if that is still going on."""
        session = self._sessions.get(self._shard(guild_id))
        if session is None:
            return
        reading = (await asyncio.shield(session)).get(channel_key(channel_id))
        if reading is not None:
            await asyncio.wait([reading])

    async def close(self) -> None:
        """Stop reading."""
        tasks: list[asyncio.Task[Any]] = [*self._sessions.values(), *self._readings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _shard(self, guild_id: int | None) -> int:
        """The shard that a channel's events come through; direct messages come through 0."""
        return (guild_id >> 22) % (self._client.shard_count or 1) if guild_id is not None else 0

    async def _start(
        self, shard: int, before: asyncio.Task[dict[str, asyncio.Task[None]]] | None
    ) -> dict[str, asyncio.Task[None]]:
        """The known channels of a shard, each with the task that reads it back.

        What the session `before` still reads is waited for: two readers of a channel might both
        take a post that the memory does not know.
        """
        if before is not None and (reading := (await before).values()):
            await asyncio.wait(reading)
        try:
            known = await self._behind.database.channels.all()
        except DatabaseError as error:
            log.error("Nothing can be caught up with: %s", error)
            return {}
        return {
            channel.key: self._read(channel)
            for channel in known
            if channel.key.startswith(PREFIX) and self._shard(_guild_id(channel)) == shard
        }

    def _read(self, channel: Channel) -> asyncio.Task[None]:
        task = asyncio.create_task(self._channel(channel), name=f"read {channel.key}")
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)
        return task

    async def _channel(self, channel: Channel) -> None:
        """Read one channel back and answer what it is owed; failures are the operator's to read."""
        try:
            async with self._slots:
                await self._read_back(channel)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("%s (%s) cannot be read back: %s", channel.name, channel.key, error)
        except DatabaseError as error:
            log.error("%s (%s) cannot be caught up with: %s", channel.name, channel.key, error)
        except Exception:
            log.exception("%s (%s) cannot be caught up with.", channel.name, channel.key)
        try:
            if found := await self._behind.turns.resume([channel]):
                log.info("%s: %d questions are still to be answered.", channel.name, found)
        except DatabaseError as error:
            log.error("%s (%s) cannot be resumed: %s", channel.name, channel.key, error)

    async def _read_back(self, channel: Channel) -> None:
        limit = self._behind.config.discord.catch_up_messages
        heard_up_to = await self._behind.database.messages.newest_post(channel.id)
        if heard_up_to is None or limit == 0:
            return
        owed = await self._behind.database.messages.owed(channel.id, since=0)
        # From the oldest open question on: a post of the bot behind it may not have been stored.
        waiting = [question.post_ids[0] for question in owed if question.post_ids]
        start = min([heard_up_to, *(post_id - 1 for post_id in waiting)])
        target = self._client.get_partial_messageable(
            channel_id_of(channel.key), guild_id=_guild_id(channel)
        )
        recent = target.history(limit=limit, after=discord.Object(start), oldest_first=False)
        posts = [post async for post in recent][::-1]
        place = Place(
            channel.key,
            channel.name,
            channel.kind,
            channel.guild_key,
            channel.parent_key,
            channel.age_restricted,
        )
        adoption = _Adoption(self._behind, channel, owed)
        for post in posts:
            if self._hearing.is_mine(post):
                await adoption.consider(post)
            elif self._hearing.is_heard(post):
                await self._catch_up_with(post, place, heard_up_to)
        if len(posts) < limit:
            there = {post.id for post in posts}
            for post_id in set(waiting) - there:  # deleted meanwhile
                await self._behind.turns.deleted(channel.key, post_id)

    async def _catch_up_with(self, post: discord.Message, place: Place, heard_up_to: int) -> None:
        """Hear a missed post, or follow an edit of a known one.

        What was heard once and is not in the memory any more was deleted there: it stays so.
        """
        incoming = self._hearing.incoming(post, place)
        if post.id > heard_up_to:
            await self._behind.turns.hear(incoming, missed=True)
        elif post.edited_at is not None:
            await self._behind.turns.edited(incoming, post.edited_at.timestamp())


class _Adoption:
    """Posts of the bot that the memory does not know: sent, but not stored before a crash."""

    def __init__(self, behind: Company, channel: Channel, owed: Sequence[Message]) -> None:
        self._behind = behind
        self._messages = behind.database.messages
        self._channel = channel
        self._owed = {post_id: question for question in owed for post_id in question.post_ids}
        self._current: ReplyRecord | None = None  # the reply that a post without reference goes on

    async def consider(self, post: discord.Message) -> None:
        """Take `post` into the memory if it is a character's and not there yet."""
        asked = post.reference.message_id if post.reference is not None else None
        known = await self._messages.by_post(post.id)
        if known is not None:
            self._current = (
                ReplyRecord(self._messages, known) if known.state == "streaming" else None
            )
        elif post.content.startswith(NOTICE) or post.interaction_metadata is not None:
            return  # the bot's own words
        elif await self._behind.database.unlogged.showed(post.id):
            return  # what was said in passing
        elif asked in self._owed:
            self._current = await self._unfinished(self._owed[asked])
            if self._current is not None:
                await self._take(self._current, post)
        elif asked is None and self._current is not None:
            await self._take(self._current, post)
        elif asked is None and not await self._take_greeting(post):
            await self._take_unreferenced(post)

    async def _unfinished(self, question: Message) -> ReplyRecord | None:
        """The reply to `question` that a crash broke off."""
        casting = self._behind.casting
        try:
            character = casting.character(self._channel)
        except CharacterError as error:
            log.warning("An unfinished reply stays as it is: %s", error)
            return None
        reply = await self._messages.begin_reply(
            self._channel.id,
            question=question.id,
            persona=character.id,
            persona_name=character.name,
            adapter=casting.adapter(self._channel),
            sampling={},
        )
        return ReplyRecord(self._messages, reply)

    async def _take(self, record: ReplyRecord, post: discord.Message) -> None:
        log.info("Post %d of an unfinished reply was not stored; it is now.", post.id)
        await record.posted(post.id)
        if not record.shown:
            await record.showing(post.content)

    async def _take_unreferenced(self, post: discord.Message) -> None:
        """A webhook's post cannot say what it answers: a channel's questions go one by one."""
        before = [question for post_id, question in self._owed.items() if post_id < post.id]
        if post.webhook_id is None or not before:
            return
        self._current = await self._unfinished(before[0])
        if self._current is not None:
            await self._take(self._current, post)

    async def _take_greeting(self, post: discord.Message) -> bool:
        """A greeting is stored before it is sent, so only its post can be missing."""
        for said in await self._messages.history(self._channel, limit=_SAID_BACK):
            missing = said.role == "character" and not said.post_ids
            if missing and said.content.startswith(post.content):
                await self._messages.posted(said.id, post.id, 0)
                return True
        return False


def _guild_id(channel: Channel) -> int | None:
    return channel_id_of(channel.guild_key) if channel.guild_key else None
