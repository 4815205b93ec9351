"""What stands beside the bot's name in Discord."""

from __future__ import annotations

import logging

import aiohttp
import discord

log = logging.getLogger(__name__)

REHEARSING = "Rehearsing; messages wait"


async def show_rehearsal(client: discord.AutoShardedClient, rehearsing: bool) -> None:
    """Say that replies have to wait, or that they come again."""
    activity = discord.CustomActivity(REHEARSING) if rehearsing else None
    # Kept for shards that connect later.
    client.activity = activity
    client.status = discord.Status.idle if rehearsing else discord.Status.online
    try:
        await client.change_presence(activity=activity, status=client.status)
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        log.info("Discord does not show whether there is a rehearsal: %s", error)
