"""A real discord.py client of the bot on the stand-in Discord, with a scripted model behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import discord
import pytest

from bot.client import TroupeBot, point_at, serve
from bot.delivery import DiscordStage
from bot.startup import Company, company
from config import Config, DiscordSettings
from tests.bot.scripted import ScriptedClient, eventually
from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle, Message


@dataclass
class Town:
    """A server with two channels, two people, and the bot."""

    server: DiscordStandIn
    config: Config
    guild: GuildHandle
    general: ChannelHandle
    market: ChannelHandle
    alice: Actor
    admin: Actor

    @property
    def me(self) -> str:
        """How people mention the bot."""
        return self.server.bot_user.mention

    @asynccontextmanager
    async def bot(self, client: ScriptedClient | None = None) -> AsyncIterator[Running]:
        """The bot, connected; entered again, it is the same bot restarted."""
        client = client or ScriptedClient(self.config.adapters_dir)
        stage = DiscordStage(self.config)
        stop = asyncio.Event()
        identified = self.server.identifies
        async with company(self.config, stage, None, client) as behind:
            task = asyncio.create_task(serve(behind, stage, self.server.token, stop))
            waiting = asyncio.create_task(self.server.wait_identified(identified + 1))
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                waiting.cancel()
                task.result()
            await waiting
            try:
                yield Running(self, behind, client, task)
            finally:
                stop.set()
                await task

    async def reply_to(self, asked: Message) -> Message:
        """The bot's first post that answers `asked`."""
        where = self.server.channel(asked.channel)
        return await where.wait_message(by=self.server.bot_user, reply_to=asked)

    async def ask(self, content: str, where: ChannelHandle | None = None) -> Message:
        """Alice mentions the bot."""
        return await self.alice.say(where or self.general, f"{self.me} {content}")


@dataclass
class Running:
    town: Town
    behind: Company
    client: ScriptedClient
    task: asyncio.Task[None]

    async def settled(self) -> None:
        """Until the bot has handled every event and answered every question."""
        await self.behind.turns.idle()

    async def settled_in(self, where: ChannelHandle) -> None:
        """Until every question of one channel is answered."""
        channel = await self.behind.database.channels.get(f"discord:{where.id}")
        await self.behind.turns.idle(channel)

    async def remembers(self, where: ChannelHandle, expected: list[tuple[str, str]]) -> None:
        """Until that is what is remembered of the channel's present scene."""

        async def there() -> bool:
            return await self.remembered(where) == expected

        await eventually(there)

    async def remembered(self, where: ChannelHandle) -> list[tuple[str, str]]:
        """(role, content) of the channel's present scene."""
        channel = await self.behind.database.channels.get(f"discord:{where.id}")
        if channel is None:
            return []
        history = await self.behind.database.messages.history(channel, limit=100)
        return [(message.role, message.content) for message in history]


@pytest.fixture
def webhooks() -> bool:
    """Whether characters speak through webhooks; modules that test that override it."""
    return False


@pytest.fixture
async def town(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, webhooks: bool
) -> AsyncIterator[Town]:
    async def no_wait(self: object, shard_id: int | None, *, initial: bool = False) -> None:
        """Discord wants five seconds between identifies; the stand-in does not."""

    monkeypatch.setattr(TroupeBot, "before_identify_hook", no_wait)
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)
    async with DiscordStandIn() as server:
        settings = DiscordSettings(
            api_url=server.api_url, gateway_url=server.gateway_url, webhooks=webhooks
        )
        point_at(settings)
        guild = server.add_guild("Test")
        yield Town(
            server=server,
            config=make_config(discord=settings),
            guild=guild,
            general=guild.add_channel("general"),
            market=guild.add_channel("market"),
            alice=guild.join(server.add_user("alice", display_name="Alice")),
            admin=guild.join(
                server.add_user("admin", display_name="Admin"), permissions="manage_channels"
            ),
        )
