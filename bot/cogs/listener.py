"""What people say, change and take back in the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord.ext import commands

from bot.delivery import channel_key

if TYPE_CHECKING:
    from bot.client import TroupeBot


class Listener(commands.Cog):
    """Every event of a channel waits until the channel has been caught up with."""

    def __init__(self, bot: TroupeBot) -> None:
        self._bot = bot
        self._turns = bot.behind.turns

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        hearing = self._bot.hearing
        if not hearing.is_heard(message):
            return
        place = hearing.place(message)
        incoming = hearing.incoming(message, place)
        guild_id = message.guild.id if message.guild is not None else None
        await self._bot.catch_up.done(message.channel.id, guild_id)
        try:
            await self._turns.hear(incoming)
        except Exception as error:  # noqa: BLE001 - the handler logs it
            await self._bot.error_handler.message(message, error, tell=incoming.addressed)

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        message = payload.message
        # Discord also tells of an edit when it has fetched the preview of a link.
        if message.edited_at is None:
            return
        if message.webhook_id is not None and self._bot.hearing.is_mine(message):
            await self._webhook_edited(message)
            return
        if not self._bot.hearing.is_heard(message):
            return
        await self._bot.catch_up.done(payload.channel_id, payload.guild_id)
        place = self._bot.hearing.place(message)
        incoming = self._bot.hearing.incoming(message, place)
        await self._turns.edited(incoming, message.edited_at.timestamp())

    async def _webhook_edited(self, message: discord.Message) -> None:
        """An edit of a character's post: the bot's own, or by who else holds the webhook."""
        if not self._bot.stage.posts.is_own_edit(message.id, message.content):
            controls = self._bot.behind.commands.controls
            await controls.changed_elsewhere(message.id, message.content)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._bot.catch_up.done(payload.channel_id, payload.guild_id)
        own = self._bot.stage.posts.is_own_deletion(payload.message_id)
        await self._turns.deleted(channel_key(payload.channel_id), payload.message_id, own=own)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._bot.catch_up.done(payload.channel_id, payload.guild_id)
        for post_id in sorted(payload.message_ids):
            await self._turns.deleted(channel_key(payload.channel_id), post_id)
