"""Train on a channel's own log while the bot runs, switch to the adapter, and back."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import db.messages
from db.database import Database
from tests.conftest import REPOSITORY
from tests.discord_standin import ChannelHandle
from tests.end_to_end.conftest import World, finished, mention
from tests.finetune.brass_moon import MARKER, log_turns


async def test_an_adapter_trained_on_a_channels_log_is_switched_live(world: World) -> None:
    world.configure("[sampling]\ntemperature = 0.0\nmax_new_tokens = 60\n")
    tavern, library = world.guild.add_channel("tavern"), world.guild.add_channel("library")
    async with world.bot() as process:
        async with await Database.open(world.data / "troupe.sqlite3") as database:
            await log_turns(
                database,
                key=f"discord:{tavern.id}",
                kind="guild",
                guild_key=f"discord:{world.guild.id}",
            )
        agreed = await world.alice.slash(tavern, "privacy server", {"switch": "on"})
        await agreed.wait_text("may now be used")
        await train(world.config_file, "--channel", f"discord:{tavern.id}", "--name", "brass")
        listed = await world.alice.slash(tavern, "adapter list")
        await listed.wait_text("brass@1")
        before = await fresh_reply(world, tavern)
        await switch(world, tavern, "brass")
        tuned = await fresh_reply(world, tavern)
        elsewhere = await fresh_reply(world, library)
        await switch(world, tavern, "base")
        after = await fresh_reply(world, tavern)
        assert process.returncode is None
    assert (before.adapter, tuned.adapter, after.adapter) == ("default@0", "brass@1", "base")
    assert MARKER in tuned.content
    assert elsewhere.adapter == "default@0"
    assert not any(MARKER in reply.content for reply in (before, elsewhere, after))


async def train(config_file: Path, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "finetune", "train", "--config", str(config_file), *arguments),
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


async def switch(world: World, channel: ChannelHandle, adapter: str) -> None:
    answer = await world.alice.slash(channel, "adapter set", name=adapter)
    await answer.wait_text(adapter)


async def fresh_reply(world: World, channel: ChannelHandle) -> db.messages.Message:
    """The reply to the same question in a scene in which nothing was said yet."""
    answer = await world.alice.slash(channel, "reset")
    await answer.wait_text("afresh")
    return await finished(world, await mention(world, channel, "Where did you learn to sail?"))
