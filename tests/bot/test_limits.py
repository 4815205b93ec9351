"""How many replies one person may have, counted and in the turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot import limits as limits_module
from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import TERMINAL_AUTHOR, Place
from bot.limits import HOUR, MINUTE, Limits
from config import Config, LimitSettings
from tests.bot.conftest import DIRECT, GENERAL, MARKET, scene_in

ANN, BO = "discord:500", "discord:501"
TERMINAL = Place("terminal:main", "main", "terminal")


class Clock:
    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, minute: int = 2, hour: int = 0) -> Limits:
    settings = LimitSettings(replies_per_minute=minute, replies_per_hour=hour)
    return Limits(settings, clock=clock)


def granted(limits: Limits, person: str = ANN) -> bool:
    return limits.take(person) is None


def test_a_window_slides() -> None:
    clock = Clock()
    counted = limits(clock)
    assert granted(counted)
    clock.now += 40
    assert granted(counted)
    assert not granted(counted)
    clock.now += 20  # the first one is a minute old
    assert granted(counted)
    assert not granted(counted)


def test_the_last_second_is_one() -> None:
    clock = Clock()
    counted = limits(clock, minute=1)
    counted.take(ANN)
    clock.now += 59.5
    refusal = counted.take(ANN)
    assert refusal is not None
    assert "another for you in a second." in refusal.sentence


def test_people_do_not_share_their_replies() -> None:
    counted = limits(Clock(), minute=1)
    assert granted(counted, ANN)
    assert granted(counted, BO)
    assert not granted(counted, ANN)


def test_a_refusal_is_told_once_in_a_window_and_says_how_long() -> None:
    clock = Clock()
    counted = limits(clock)
    counted.take(ANN)
    clock.now += 18
    counted.take(ANN)
    first = counted.take(ANN)
    assert first is not None
    assert not first.told
    assert first.sentence == (
        "You have had 2 replies within the minute, and others want some too; there is another for"
        " you in 42 seconds. Until then I only listen."
    )
    again = counted.take(ANN)
    assert again is not None
    assert again.told
    clock.now += 42.5
    assert granted(counted)  # and at once the window is full again
    still = counted.take(ANN)
    assert still is not None
    assert still.told
    clock.now += MINUTE
    assert granted(counted)
    assert granted(counted)
    new = counted.take(ANN)
    assert new is not None
    assert not new.told


def test_the_hour_counts_beside_the_minute() -> None:
    clock = Clock()
    counted = limits(clock, minute=2, hour=3)
    for _ in range(3):
        assert granted(counted)
        clock.now += 40
    refusal = counted.take(ANN)
    assert refusal is not None
    assert "3 replies within the hour" in refusal.sentence
    assert "in 58 minutes" in refusal.sentence
    clock.now += HOUR - 120
    assert granted(counted)


def test_zero_is_any_number() -> None:
    counted = limits(Clock(), minute=0, hour=0)
    assert all(granted(counted) for _ in range(500))


def test_what_was_missed_counts_when_it_was_said() -> None:
    clock = Clock()
    counted = limits(clock, minute=1)
    assert [counted.take(ANN, clock.now - 600 + 61 * n) for n in range(9)] == [None] * 9
    assert granted(counted)


def test_people_who_are_long_silent_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_MOST_PEOPLE", 10)
    clock = Clock()
    counted = limits(clock, minute=1)
    for number in range(10):
        counted.take(f"discord:{number}")
    clock.now += HOUR + 1
    counted.take("discord:99")
    assert len(counted._people) == 1


@pytest.fixture
def limited(make_config: Callable[..., Config]) -> Config:
    return make_config(limits=LimitSettings(replies_per_minute=2, replies_per_hour=0))


async def test_who_asks_too_much_is_told_so_once_and_still_heard(limited: Config) -> None:
    async with scene_in(limited) as scene:
        for number in range(5):
            await scene.say(f"question {number}")
            await scene.settled()
        await scene.say("me too", MARKET)  # everywhere
        await scene.say("and I", author_key=BO, author_name="Bo")
        await scene.settled()
        assert scene.replies == [
            "You said: Ann: question 0",
            "You said: Ann: question 1",
            "You said: Bo: and I",
        ]
        [told] = scene.notices
        assert told.startswith("You have had 2 replies within the minute")
        channel = await scene.behind.turns.channel(GENERAL)
        history = await scene.behind.database.messages.history(channel, limit=99)
        assert [m.content for m in history if m.role == "user"] == [
            *(f"question {number}" for number in range(5)),
            "and I",
        ]
        assert await scene.behind.database.messages.owed(since=0) == []


async def test_who_did_not_ask_is_told_nothing(limited: Config) -> None:
    async with scene_in(limited) as scene:
        channel = await scene.behind.turns.channel(GENERAL)
        await scene.behind.database.channels.set(channel.id, mode="always")
        for number in range(4):
            await scene.say(f"chatter {number}", addressed=False)
            await scene.settled()
        assert len(scene.replies) == 2
        assert scene.notices == []


async def test_another_version_is_a_reply_too(limited: Config) -> None:
    async with scene_in(limited) as scene:
        await scene.say("hello")
        await scene.settled()
        await run_line(scene.behind.commands, GENERAL, "/regenerate", author=ANN)
        await scene.settled()
        for line in ("/regenerate", "/continue"):
            with pytest.raises(CommandError, match="2 replies within the minute"):
                await run_line(scene.behind.commands, GENERAL, line, author=ANN)


async def test_the_terminal_has_no_limits(limited: Config) -> None:
    async with scene_in(limited) as scene:
        for number in range(4):
            await scene.say(f"{number}", TERMINAL, author_key=TERMINAL_AUTHOR)
            await scene.settled()
        assert len(scene.replies) == 4


async def test_questions_that_were_missed_are_not_all_of_now(limited: Config) -> None:
    async with scene_in(limited) as scene:
        began = time.time() - 1000
        for number in range(6):
            said = replace(scene.made(f"{number}", DIRECT), created_at=began + 61 * number)
            await scene.behind.turns.hear(said, missed=True)
        await scene.settled()
        assert len(scene.replies) == 6
