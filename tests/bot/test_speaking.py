"""When characters speak: always when spoken to, else by the channel's mode."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import Place
from bot.speaking import Speaking
from config import BotSettings, Config
from tests.bot.conftest import GENERAL, MARKET, Scene, scene_in
from tests.bot.scripted import Script


class Dice:
    """What `chance` gives, and the time of day."""

    def __init__(self) -> None:
        self.value = 0.0
        self.now = time.time()
        self.rolled = 0

    def chance(self) -> float:
        self.rolled += 1
        return self.value

    def clock(self) -> float:
        return self.now


@asynccontextmanager
async def sometimes(config: Config, **more: object) -> AsyncIterator[tuple[Scene, Dice]]:
    """A company whose characters join in when the dice say so."""
    settings = BotSettings(mode="sometimes", **more)  # type: ignore[arg-type]
    async with scene_in(config.model_copy(update={"bot": settings})) as scene:
        dice = Dice()
        speaking = Speaking(settings, scene.behind.database, chance=dice.chance, clock=dice.clock)
        scene.behind.turns._attention._speaking = speaking
        yield scene, dice


async def hears(scene: Scene, content: str, place: Place = GENERAL, **more: object) -> bool:
    """Whether that gets a reply."""
    before = len(scene.client.requests)
    await scene.say(content, place, **{"addressed": False, **more})
    await scene.settled()
    return len(scene.client.requests) > before


async def test_by_default_only_who_speaks_to_it_is_answered(scene: Scene) -> None:
    assert not await hears(scene, "nice weather")
    assert not await hears(scene, "Mirela said so")
    assert await hears(scene, "Mirela, nice weather?")
    assert await hears(scene, "nice weather", addressed=True)
    assert await hears(scene, "yes", reply_to_post=scene.stage.next_post)


async def test_always(scene: Scene) -> None:
    await run_line(scene.behind.commands, GENERAL, "/settings set mode always")
    assert await hears(scene, "nice weather")
    assert not await hears(scene, "@Ben, nice weather?", to_others=True)
    assert await hears(scene, "Mirela, tell @Ben", to_others=True)
    assert not await hears(scene, "nice weather", MARKET)


async def test_a_reply_to_somebody_else_is_left_alone(scene: Scene) -> None:
    await run_line(scene.behind.commands, GENERAL, "/settings set mode always")
    first = await scene.say("who knows?", author_key="discord:501")
    await scene.settled()
    assert not await hears(scene, "I do", reply_to_post=first.post_id)
    assert await hears(scene, "so do I", reply_to_post=first.post_id, author_key="discord:501")


async def test_never_twice_in_a_row_unasked(config: Config) -> None:
    async with sometimes(config) as (scene, _):
        assert not await hears(scene, "nobody has spoken yet")
        assert await hears(scene, "hello", addressed=True)
        assert await hears(scene, "nice weather")
        assert not await hears(scene, "very nice")
        assert not await hears(scene, "indeed")
        assert await hears(scene, "Mirela, is it?")
        assert await hears(scene, "nice weather")


async def test_nobody_joins_in_while_something_is_written(config: Config) -> None:
    async with sometimes(config) as (scene, _):
        scene.client.scripts.append(Script(["A", " reply."], pause=0.02))
        await scene.say("hello")
        await scene.say("meanwhile", addressed=False)
        await scene.settled()
        assert len(scene.client.requests) == 1


async def test_the_chance_halves_with_silence(config: Config) -> None:
    async with sometimes(config, sometimes_half_life_seconds=100.0) as (scene, dice):
        await hears(scene, "hello", addressed=True)
        dice.now = time.time() + 200.0
        dice.value = 0.9 / 4 + 0.02
        assert not await hears(scene, "still there?")
        dice.value = 0.9 / 4 - 0.02
        assert await hears(scene, "still there?")


async def test_at_most_so_many_channels(config: Config) -> None:
    places = [Place(f"discord:{n}", f"room {n}", "guild", "discord:99") for n in range(10, 13)]
    async with sometimes(config, sometimes_channels=2) as (scene, dice):
        for place in places:
            await hears(scene, "hello", place, addressed=True)
        assert [await hears(scene, "so", place) for place in places] == [True, True, False]
        # A channel that had its turn keeps its place, until it was silent for long.
        await hears(scene, "hello", places[0], addressed=True)
        assert await hears(scene, "so", places[0])
        dice.now = time.time() + 10 * 300.0
        dice.value = -1.0
        assert await hears(scene, "so", places[2])


async def test_quiet_hours(config: Config) -> None:
    async with sometimes(config, quiet_hours="23:00-07:00") as (scene, dice):

        def at(hour: int) -> None:
            dice.now = datetime.now().replace(hour=hour, minute=0).timestamp()

        dice.value = -1.0
        at(12)
        assert await hears(scene, "hello", addressed=True)
        at(23)
        assert not await hears(scene, "so")
        at(6)
        assert not await hears(scene, "so")
        assert await hears(scene, "Mirela, so?")
        at(7)
        assert await hears(scene, "so")
        await run_line(scene.behind.commands, GENERAL, "/settings set mode always")
        at(3)
        assert not await hears(scene, "so")


async def test_what_nobody_waits_for_is_not_caught_up_with(config: Config) -> None:
    async with sometimes(config) as (scene, _):
        await hears(scene, "hello", addressed=True)
        channel = await scene.behind.turns.channel(GENERAL)
        message = await scene.behind.database.messages.add_user(
            channel.id, author_key="discord:500", author_name="Ann", content="so",
            created_at=time.time(), owed=True, unasked=True,
        )  # fmt: skip
        assert await scene.behind.turns.resume([channel]) == 0
        stored = await scene.behind.database.messages.get(message.id)
        assert stored is not None
        assert stored.answer == "none"


async def test_the_mode_is_a_setting(scene: Scene) -> None:
    commands = scene.behind.commands
    answer = await run_line(commands, GENERAL, "/settings set mode sometimes")
    assert "sometimes joins in" in answer.text
    with pytest.raises(CommandError, match="mention, always or sometimes"):
        await run_line(commands, GENERAL, "/settings set mode never")
