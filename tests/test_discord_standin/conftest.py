"""A stand-in Discord, and a real discord.py bot that is pointed at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import discord
import pytest
from discord.ext import commands

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle, pointed_at


class SampleBot(commands.AutoShardedBot):
    """An ordinary bot; only the waits that slow a test down are shortened, by public options."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("intents", discord.Intents.all())
        super().__init__("!", guild_ready_timeout=0.05, **options)
        self.became_ready = asyncio.Event()
        self.add_listener(self._note_ready, "on_ready")
        self.sync_guild: discord.abc.Snowflake | None = None
        self.sync_on_start = False

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Discord wants five seconds between identifies; the stand-in does not."""

    async def setup_hook(self) -> None:
        if self.sync_on_start:
            await self.tree.sync(guild=self.sync_guild)

    async def _note_ready(self) -> None:
        self.became_ready.set()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Waits for something that only the client knows; what the server knows has its own waits."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a client offers no event for this
            await asyncio.sleep(0.002)


@pytest.fixture
async def standin() -> AsyncIterator[DiscordStandIn]:
    """A stand-in that discord.py takes for Discord while the test runs."""
    async with DiscordStandIn() as server:
        with pointed_at(server):
            yield server


@asynccontextmanager
async def pointed(server: DiscordStandIn) -> AsyncIterator[None]:
    """`pointed_at`, for use in one `async with` with the server itself."""
    with pointed_at(server):
        yield


@pytest.fixture
def guild(standin: DiscordStandIn) -> GuildHandle:
    return standin.add_guild("Test")


@pytest.fixture
def general(guild: GuildHandle) -> ChannelHandle:
    return guild.add_channel("general")


@pytest.fixture
def alice(standin: DiscordStandIn, guild: GuildHandle) -> Actor:
    return guild.join(standin.add_user("alice", display_name="Alice"))


@asynccontextmanager
async def running(bot: SampleBot, server: DiscordStandIn) -> AsyncIterator[SampleBot]:
    """Runs a bot until the block ends; an error of its own ends the block with it."""
    task = asyncio.create_task(bot.start(server.token))
    ready = asyncio.create_task(bot.became_ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        if task.done():
            task.result()
        assert ready.done(), "the bot did not become ready"
        yield bot
    finally:
        ready.cancel()
        await bot.close()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


@pytest.fixture
def bot() -> SampleBot:
    return SampleBot()


@pytest.fixture
async def started(
    bot: SampleBot, standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle
) -> AsyncIterator[SampleBot]:
    """The bot, connected, in a guild with one channel."""
    async with running(bot, standin):
        yield bot
