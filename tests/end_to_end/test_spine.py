"""Discord → queue → a real LLaMA → the reply, remembered; and what a kill may not break."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from db.database import Database
from inference.adapters import AdapterRegistry
from inference.model_loading import LoadedModel
from tests.conftest import REPOSITORY, MakeAdapter
from tests.end_to_end.conftest import World, ask, finished, mention, replies_to, shown


async def test_two_channels_with_their_own_character_and_adapter_survive_a_kill(
    world: World, embedded: LoadedModel, make_adapter: MakeAdapter
) -> None:
    registry = AdapterRegistry(world.data / "adapters")
    for seed, name in enumerate(("brass", "silver")):
        make_adapter(embedded, registry, name, seed=seed, scale=0.01)
    world.configure("[sampling]\nmax_new_tokens = 60\n")
    harbour, market = world.guild.add_channel("harbour"), world.guild.add_channel("market")
    chosen = {harbour.id: ("mirela", "brass"), market.id: ("tunde", "silver")}
    async with world.bot() as process:
        for channel in (harbour, market):
            persona, adapter = chosen[channel.id]
            for command in (f"persona set:{persona}", f"adapter set:{adapter}"):
                line, _, name = command.partition(":")
                answer = await world.alice.slash(channel, line, name=name)
                await answer.wait_response()
        replies = await asyncio.gather(
            *(ask(world, channel, "What is new today?") for channel in (harbour, market))
        )
        long = await world.alice.slash(harbour, "settings set", name="max_new_tokens", value="400")
        await long.wait_response()
        question = await mention(world, harbour, "Tell me the whole story of your life.")
        half = await shown(harbour, question, wait_seconds=60)
        process.kill()
        await process.wait()
    async with await Database.open(world.data / "troupe.sqlite3") as database:
        for reply in replies:
            stored = await database.messages.by_post(reply.id)
            assert stored is not None
            persona, adapter = chosen[reply.channel.id]
            assert (stored.persona, stored.adapter) == (persona, f"{adapter}@1")
            assert stored.content == reply.content
        asked = await database.messages.by_post(question.id)
        assert asked is not None
        assert asked.answer == "owed"
        assert asked.content == "Tell me the whole story of your life."
        broken_off = await database.messages.by_post(half.id)
        if broken_off is not None:  # else killed between Discord's answer and the note of it
            assert broken_off.content.startswith(half.content)
    async with world.bot():
        final = await finished(world, question)
        everything = [m for m in harbour.messages if m.id > question.id]
        assert "".join(m.content for m in everything).replace("\n", "") == "".join(
            final.content.split("\n")
        )
        assert everything[0] is half
        assert final.adapter == "brass@1"
    async with await Database.open(world.data / "troupe.sqlite3") as database:
        asked = await database.messages.by_post(question.id)
        assert asked is not None
        assert len(await replies_to(database, asked)) == 1


async def test_a_long_reply_delays_neither_heartbeat_nor_slash_command(world: World) -> None:
    # At the highest temperature every token is likely, so the reply has all of its 300 tokens.
    world.configure("[sampling]\nmax_new_tokens = 300\ntemperature = 2.0\ntop_p = 1.0\n")
    general = world.guild.add_channel("general")
    async with world.bot():
        question = await mention(world, general, "Tell me everything.")
        done = asyncio.create_task(finished(world, question))
        acknowledged: list[float] = []
        while not done.done():
            for line in ("status", "persona list", "settings show"):
                answer = await world.alice.slash(general, line)
                assert answer.acknowledged_after is not None
                acknowledged.append(answer.acknowledged_after)
            await asyncio.wait([done], timeout=0.5)
        reply = await done
        assert reply.finish_reason == "length"
        assert max(acknowledged) < 3.0
        for log in world.discord.heartbeats:
            # The interval is 2 s; a heartbeat that is late by half of it would be a stall.
            assert log.longest_gap() < 3.0


async def test_the_terminal_answers_each_line_of_input_once(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISCORD_TOKEN"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(REPOSITORY / "data" / "models")
    (tmp_path / "config.toml").write_text("[sampling]\nmax_new_tokens = 40\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot", "--config", str(tmp_path / "config.toml")),
        cwd=REPOSITORY,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(b"Hello there!\nWhat do you sell?\n")
    assert process.returncode == 0, err.decode()
    lines = out.decode().splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["Captain Mirela Vex"] * 2
    assert all(line.partition(": ")[2].strip() for line in lines)
    hint = err.decode().splitlines()[:2]
    assert "DISCORD_TOKEN" in hint[0] + hint[1]
