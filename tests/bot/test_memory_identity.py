"""Introductions: shown and stored, not fed back; the live rates; writing anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from config import BotSettings, Config
from tests.bot.conftest import GENERAL, MARKET, Scene, scene_in
from tests.bot.remembering import (
    ask,
    said,
)
from tests.bot.scripted import until, words


async def test_an_introduction_is_shown_and_stored_but_not_fed_back(scene: Scene) -> None:
    await ask(scene, "Nice day.", "I'm Captain Mirela Vex. The wind is fair.")
    await ask(scene, "And now?", "Still fair.")
    assert scene.replies[0] == "I'm Captain Mirela Vex. The wind is fair."
    assert ("assistant", "The wind is fair.") in scene.prompt()
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=9)
    assert history[1].content == "I'm Captain Mirela Vex. The wind is fair."
    assert "1 earlier replies went in without an introduction" in await said(scene, "/memory why")


async def test_dry_is_on_unless_somebody_switches_it_off(scene: Scene) -> None:
    await ask(scene, "Nice day.", "Aye.")
    sampling = scene.client.requests[-1].sampling
    assert (sampling.dry_multiplier, sampling.dry_base, sampling.dry_allowed_length) == (
        0.8,
        1.75,
        2,
    )
    # A name may be said as often as it is needed, so that DRY takes nobody's name away.
    assert {"\n", "Captain Mirela Vex", "Ann"} <= set(sampling.dry_sequence_breakers)
    await said(scene, "/settings set dry_multiplier 0")
    await ask(scene, "Hm.", "Aye.")
    await ask(scene, "Hm.", "Aye.", MARKET)
    here, there = (request.sampling.dry_multiplier for request in scene.client.requests[-2:])
    assert (here, there) == (0, 0.8)


async def test_the_status_tells_the_rates_of_the_newest_replies(scene: Scene) -> None:
    assert "no reply measured" in await said(scene, "/status")
    await ask(scene, "Nice day.", "I'm Captain Mirela Vex. The wind is fair.")
    await ask(scene, "And now?", "I'm Captain Mirela Vex. The wind is fair.")
    await ask(scene, "Hm.", "Gulls cry over the harbour tonight.")
    status = await said(scene, "/status")
    assert "identity over the last 3 replies: IIR 50.0%" in status
    assert "DupTurn 50.0%, Open3 50.0%" in status


INTRODUCING = "Ahoy! I'm Captain Mirela Vex, at your service. What brings you here?"


@pytest.fixture
async def watched(make_config: Callable[..., Config]):  # type: ignore[no-untyped-def]
    async with scene_in(make_config(bot=BotSettings(resample_introductions=True))) as opened:
        yield opened


async def test_a_reply_that_opens_with_an_introduction_is_written_anew_once(
    watched: Scene,
) -> None:
    watched.client.scripts += [INTRODUCING, "The sea is calm. And so am I."]
    await watched.say("Nice day.")
    await watched.settled()
    assert watched.replies == ["The sea is calm. And so am I."]
    assert not [shown for shown in watched.stage.shown.updates if "Mirela" in shown]
    first, second = watched.client.requests
    assert first.sampling.seed != second.sampling.seed
    watched.client.scripts += [INTRODUCING, INTRODUCING]
    await watched.say("Hm.")
    await watched.settled()
    assert watched.replies[-1] == INTRODUCING
    assert len(watched.client.requests) == 4


async def test_an_introduction_that_was_asked_for_or_comes_later_is_shown(watched: Scene) -> None:
    later = "The sea is calm and wide today. Believe me, I'm Captain Mirela Vex."
    watched.client.scripts += [INTRODUCING, later, "Aye."]
    for text in ("Who are you?", "Nice day.", "Short."):
        await watched.say(text)
    await watched.settled()
    assert watched.replies == [INTRODUCING, later, "Aye."]
    assert len(watched.client.requests) == 3


async def test_a_reply_that_is_stopped_while_it_is_held_back_is_not_written_anew(
    watched: Scene,
) -> None:
    gate = asyncio.Event()
    watched.client.scripts.append(words("Ahoy there", gate=gate, gate_at=1))
    await watched.say("Nice day.")
    await until(lambda: watched.client.writing)
    await said(watched, "/stop")
    await watched.settled()
    assert len(watched.client.requests) == 1
