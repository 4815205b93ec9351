"""Older moments, notes and lore in the turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bot.errors import CommandError
from bot.incoming import Place
from config import Config, MemorySettings
from tests.bot.conftest import DIRECT, GENERAL, MARKET, Scene, scene_in
from tests.bot.remembering import (
    ANN,
    SHORT,
    ask,
    last_prompt,
    said,
    system,
    talk,
)

COMPASS = "My grandfather carved a compass of whalebone."


async def remember(scene: Scene, place: Place = GENERAL, turns: int = 7) -> None:
    await ask(scene, COMPASS.replace("My", "Old"), "A treasure.", place)
    await talk(scene, turns, place)


@pytest.fixture
async def recalling(make_config: Callable[..., Config]):  # type: ignore[no-untyped-def]
    config = make_config(**{**SHORT, "memory": MemorySettings(summary=False)})
    async with scene_in(config) as opened:
        yield opened


async def test_an_older_moment_is_recalled_right_before_the_question(recalling: Scene) -> None:
    await remember(recalling)
    assert "whalebone" not in last_prompt(recalling)
    await ask(recalling, "Where is the compass of whalebone?", "Here.")
    *_, (role, content) = recalling.prompt()
    assert role == "user"
    assert content.splitlines() == [
        "[Earlier: Ann said: Old grandfather carved a compass of whalebone.]",
        "Ann: Where is the compass of whalebone?",
    ]
    why = await said(recalling, "/memory why")
    assert "recalled: 100% (compass, whalebone) Ann: Old grandfather carved" in why


async def test_what_is_not_near_enough_is_left_out_and_told(recalling: Scene) -> None:
    await remember(recalling)
    await ask(recalling, "Did the compass sink beneath glaciers, volcanoes, deserts?", "No.")
    assert "Earlier:" not in last_prompt(recalling)
    assert "not near enough:" in await said(recalling, "/memory why")


async def test_nothing_in_the_window_is_recalled(recalling: Scene) -> None:
    await remember(recalling, turns=1)
    await ask(recalling, "Where is the compass of whalebone?", "Here.")
    assert last_prompt(recalling).count("carved") == 1


async def test_nothing_is_recalled_from_elsewhere(recalling: Scene) -> None:
    for place in (GENERAL, DIRECT):
        await remember(recalling, place)
    question = "Where is the compass of whalebone?"
    await talk(recalling, 7, MARKET)
    await ask(recalling, question, "What?", MARKET)
    assert "carved" not in last_prompt(recalling)
    await said(recalling, "/reset")
    await talk(recalling, 7)
    await ask(recalling, question, "What?")
    assert "carved" not in last_prompt(recalling)
    await said(recalling, "/persona set bramble", DIRECT)
    await talk(recalling, 7, DIRECT)
    await ask(recalling, question, "What?", DIRECT)
    assert "carved" not in last_prompt(recalling)


async def test_a_note_stands_at_its_depth(scene: Scene) -> None:
    await ask(scene, "Hello.", "Aye.")
    await said(scene, "/note set It rains.")
    assert (
        await said(scene, "/note depth 1") == "1 messages before the end of every prompt: It rains."
    )
    await ask(scene, "And now?", "Rain.")
    assert scene.prompt()[-1] == ("user", "[It rains.]\nAnn: And now?")
    await said(scene, "/persona set bramble")
    await ask(scene, "And now?", "Sun.")
    assert "It rains." not in last_prompt(scene)
    await said(scene, "/persona set mirela")
    await said(scene, "/note clear")
    assert "no note" in await said(scene, "/note show")
    with pytest.raises(CommandError, match="no note"):
        await said(scene, "/note depth 3")


async def test_lore_of_the_channel_comes_up_with_its_keys(scene: Scene) -> None:
    await said(scene, "/lore add well, 井 = The well is dry.")
    await said(scene, "/lore add = It is always winter.")
    assert await said(scene, "/lore list") == (
        "1. well, 井: The well is dry.\n2. always: It is always winter."
    )
    await ask(scene, "Hello.", "Aye.")
    assert "It is always winter." in system(scene)
    assert "The well is dry." not in system(scene)
    await ask(scene, "Is there a well?", "Aye.")
    assert "The well is dry." in system(scene)
    assert "lore: well, 井 ('well')" in await said(scene, "/memory why")
    await ask(scene, "Is there a well?", "Aye.", MARKET)
    assert "The well is dry." not in system(scene)
    await said(scene, "/lore remove 1")
    await said(scene, "/lore remove 2")
    assert "no lore" in await said(scene, "/lore list")


async def test_lore_that_finds_no_room_is_told(make_config: Callable[..., Config]) -> None:
    async with scene_in(make_config(memory=MemorySettings(lore_tokens=3))) as scene:
        await said(scene, "/lore add well = The well is as dry as it can be.")
        await ask(scene, "A well?", "Aye.")
        assert "as dry" not in system(scene)
        assert "lore left out: well (no room" in await said(scene, "/memory why")


async def test_notes_need_the_permission(scene: Scene) -> None:
    direction = scene.behind.commands.direction
    for attempt in (
        direction.set_note(GENERAL, ANN, "x"),
        direction.clear_note(GENERAL, ANN),
    ):
        with pytest.raises(CommandError, match="permission"):
            await attempt


async def test_wrong_lines_say_how_it_goes(scene: Scene) -> None:
    for line in (
        "/memory",
        "/memory pin",
        "/summary set",
        "/note",
        "/lore add well",
        "/lore remove",
        "/lore import",
        "/lore export",
    ):
        with pytest.raises(CommandError, match="The command is /"):
            await said(scene, line)
