"""The bot as a stranger runs it: its own process, a real model, a Discord to connect to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import db.messages
from db.database import Database
from inference.base_model import find_base_model
from tests.conftest import MODELS, REPOSITORY
from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle, Message

READY_SECONDS = 120.0  # the model loads while other tests use the machine
REPLY_SECONDS = 240.0


@pytest.fixture(scope="session", autouse=True)
def unpacked_model() -> None:
    """The embedded model lies unpacked before a bot that is waited for needs it."""
    find_base_model("embedded", MODELS, lambda _: None)


@dataclass
class World:
    """A Discord with one guild and one person in it, and the folder of the bot's data."""

    discord: DiscordStandIn
    guild: GuildHandle
    alice: Actor
    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "config.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "bot.log"

    def configure(self, text: str = "") -> None:
        """Write the bot's configuration: this Discord, and whatever `text` adds."""
        self.config_file.write_text(
            f'[discord]\napi_url = "{self.discord.api_url}"\n'
            f'gateway_url = "{self.discord.gateway_url}"\n[model]\ndevice = "cpu"\n{text}'
        )

    @asynccontextmanager
    async def bot(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """A running bot, its commands known; stopped as a service manager would."""
        environment = {**os.environ, "DISCORD_TOKEN": self.discord.token}
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bot", "discord", "--config", str(self.config_file)),
                cwd=REPOSITORY,
                env=environment,
                stderr=log,
                stdout=log,
            )
        try:
            await self.discord.wait_ready(timeout=READY_SECONDS, commands=True)
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    async with asyncio.timeout(20):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()
                    raise AssertionError("the bot did not stop; " + self.logged()) from None

    def logged(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with DiscordStandIn(heartbeat_interval=2.0) as discord:
        guild = discord.add_guild("Harbour")
        alice = discord.add_user("alice", display_name="Alice")
        guild.join(alice, permissions=("manage_channels", "manage_guild"))
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "models").symlink_to(MODELS)
        world = World(discord, guild, alice, tmp_path)
        world.configure()
        yield world
        assert discord.requests.unhandled == []


async def mention(world: World, channel: ChannelHandle, text: str) -> Message:
    """Alice mentions the bot; returns her message."""
    return await world.alice.say(channel, f"{world.discord.bot_user.mention} {text}")


async def ask(world: World, channel: ChannelHandle, text: str) -> Message:
    """Mention the bot and wait until its reply is remembered as finished; returns the reply."""
    question = await mention(world, channel, text)
    reply = await finished(world, question)
    # The greeting of a character that was just chosen may come behind the question, too.
    return await channel.wait_message(
        where=lambda post: post.id == reply.post_ids[0], after=question
    )


async def shown(channel: ChannelHandle, question: Message, wait_seconds: float = 5.0) -> Message:
    """The first post of a character behind `question`."""
    return await channel.wait_message(
        where=lambda post: post.webhook_id is not None, after=question, timeout=wait_seconds
    )


async def finished(world: World, question: Message) -> db.messages.Message:
    """What the memory holds of the finished reply to `question`."""
    deadline = time.monotonic() + REPLY_SECONDS
    while time.monotonic() < deadline:
        async with await Database.open(world.data / "troupe.sqlite3") as database:
            asked = await database.messages.by_post(question.id)
            if asked is not None and asked.answer in ("answered", "failed"):
                assert asked.answer == "answered", world.logged()
                return (await replies_to(database, asked))[-1]
        await asyncio.sleep(0.2)
    raise AssertionError(f"no finished reply to {question.content!r}; {world.logged()}")


async def replies_to(
    database: Database, question: db.messages.Message
) -> list[db.messages.Message]:
    """All that the memory holds as replies to `question`."""
    channel = await database.channels.by_id(question.channel_id)
    history = await database.messages.history(channel, limit=1000)
    return [m for m in history if m.reply_to == question.id and m.role == "character"]
