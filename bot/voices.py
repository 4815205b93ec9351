"""Characters under their own names: one webhook of the bot's for each channel.

The webhook's own name says whose picture it wears (each post brings the character's name along), so
nothing about webhooks has to be stored, and after a restart they are found where they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import aiohttp
import discord

from bot.faces import Face, Faces
from bot.told_once import ToldOnce

log = logging.getLogger(__name__)

OWN_NAME = "Troupe"
UNKNOWN_WEBHOOK = 10015
_TOO_MANY = (30007, 30058)  # webhooks in a channel, in a server
_HOMES = (
    discord.TextChannel,
    discord.VoiceChannel,
    discord.StageChannel,
    discord.ForumChannel,
)

_Home = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel


@dataclass(frozen=True, slots=True)
class Where:
    """A channel by Discord's ids. `parent` is the channel of a thread."""

    channel: int
    guild: int | None
    parent: int | None = None

    @property
    def home(self) -> int:
        """The channel that the webhook belongs to."""
        return self.channel if self.parent is None else self.parent

    @property
    def thread(self) -> discord.Object:
        """What discord.py wants to know of a thread; MISSING where there is none."""
        missing: discord.Object = discord.utils.MISSING
        return missing if self.parent is None else discord.Object(self.channel)


@dataclass(frozen=True, slots=True)
class Voice:
    """A webhook that wears a character's picture; `avatar_url` is given where there is none."""

    webhook: discord.Webhook
    avatar_url: str


class Voices:
    """The webhooks of one client's channels."""

    def __init__(self, client: discord.Client, faces: Faces, told: ToldOnce) -> None:
        self._client = client
        self._faces = faces
        self._told = told
        self._webhooks: dict[int, discord.Webhook] = {}  # by the channel they belong to
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def placed(self, where: Where) -> Where:
        """`where` with the parent of a thread that the memory does not know as one."""
        channel = self._client.get_channel(where.channel)
        if where.parent is None and isinstance(channel, discord.Thread):
            return Where(where.channel, where.guild, channel.parent_id)
        return where

    @asynccontextmanager
    async def speaking(self, where: Where, persona: str) -> AsyncIterator[Voice | None]:
        """The webhook of the channel, with the character's picture on as long as this lasts.

        None where there can be none: in direct messages and without the permission, of which an
        administrator is told once. Raises what discord.py raises when Discord cannot be reached.
        """
        home = await self._home(where)
        if home is None:
            yield None
            return
        face = await self._faces.of(persona)
        lock = self._locks.setdefault(home.id, asyncio.Lock())
        async with lock:  # another character of the channel would change the picture
            try:
                voice = Voice(await self._wearing(home, face), self._avatar_url(face))
            except discord.Forbidden:
                await self._tell(home, "I may not manage webhooks")
                voice = None
            except discord.HTTPException as error:
                if error.code not in _TOO_MANY:
                    raise
                await self._tell(home, "the channel has as many webhooks as Discord allows")
                voice = None
            yield voice

    async def find(self, where: Where, webhook_id: int) -> discord.Webhook | None:
        """A webhook of the bot's by its id; None if it is gone or cannot be looked up."""
        known = self._webhooks.get(where.home)
        if known is not None and known.id == webhook_id:
            return known
        home = await self._home(where)
        if home is None:
            return None
        return next((own for own in await self._own(home) if own.id == webhook_id), None)

    def _avatar_url(self, face: Face) -> str:
        missing: str = discord.utils.MISSING
        me = self._client.user
        return missing if face.picture is not None or me is None else me.display_avatar.url

    def lost(self, where: Where) -> None:
        """The webhook of the channel was deleted; the next post makes another."""
        self._webhooks.pop(where.home, None)

    async def _home(self, where: Where) -> _Home | None:
        """The channel that can have the webhook, if characters may speak there."""
        if where.guild is None:
            return None
        channel = self._client.get_channel(where.home)
        if channel is None:
            channel = await self._client.fetch_channel(where.home)
        if not isinstance(channel, _HOMES):
            return None
        me = channel.guild.get_member(self._client.user.id) if self._client.user else None
        if me is None:
            return None  # the server is not there at present
        allowed = channel.permissions_for(me)
        may_write = (
            allowed.send_messages if where.parent is None else allowed.send_messages_in_threads
        )
        if not may_write:
            return None  # a webhook could write all the same, which nobody here wants
        if not allowed.manage_webhooks:
            await self._tell(channel, "I may not manage webhooks")
            return None
        return channel

    async def _wearing(self, home: _Home, face: Face) -> discord.Webhook:
        """The webhook of the channel, made if need be, wearing this face."""
        name = f"{OWN_NAME} {face.mark}".strip()
        webhook = self._webhooks.get(home.id)
        if webhook is None:
            webhook = next(iter(await self._own(home)), None)
        if webhook is None:
            webhook = await home.create_webhook(name=name, avatar=face.picture)
            log.info("%s (%d) has a webhook now.", home.name, home.id)
        elif webhook.name != name:
            try:
                webhook = await webhook.edit(name=name, avatar=face.picture)
            except discord.NotFound:
                self._webhooks.pop(home.id, None)
                webhook = await home.create_webhook(name=name, avatar=face.picture)
        self._webhooks[home.id] = webhook
        return webhook

    async def _own(self, home: _Home) -> list[discord.Webhook]:
        """The bot's webhooks of a channel, the oldest first."""
        me = self._client.user.id if self._client.user is not None else 0
        there = [hook for hook in await home.webhooks() if hook.token is not None]
        return sorted(
            (hook for hook in there if hook.user is not None and hook.user.id == me),
            key=lambda hook: hook.id,
        )

    async def _tell(self, home: _Home, reason: str) -> None:
        """Say once in a server, to those who can change it, why characters go by the bot's name.

        Where its moderators get notices from Discord, if the server has such a channel; else to its
        owner. The log has it in any case.
        """
        guild = home.guild
        if not self._told.first(_key(guild)):
            return
        sentence = (
            f"Characters speak under my name in #{home.name} of {guild.name}, because {reason}"
            " there; give me the permission Manage Webhooks and room for one webhook in every"
            " channel, and they appear under their own names and pictures."
        )
        log.warning("%s", sentence)
        try:
            if guild.public_updates_channel is not None:
                await guild.public_updates_channel.send(sentence)
            elif guild.owner_id is not None:
                owner = await self._client.fetch_user(guild.owner_id)
                await owner.send(sentence)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("Nobody of %s could be told so: %s", guild.name, error)


def _key(guild: discord.Guild) -> str:
    return f"webhooks {guild.id}"
