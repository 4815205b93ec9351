"""The running summary: what it tells, when it is written, and what voids it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bot.errors import CommandError
from bot.incoming import Place
from config import Config
from inference.types import InferenceError
from tests.bot.conftest import GENERAL, MARKET, Scene, scene_in
from tests.bot.remembering import (
    ANN,
    SHORT,
    ask,
    last_prompt,
    long_line,
    replies_asked,
    said,
    system,
    talk,
)
from tests.bot.scripted import Script, until, words


@pytest.fixture
async def short(make_config: Callable[..., Config]):  # type: ignore[no-untyped-def]
    """A company whose prompts hold few turns."""
    async with scene_in(make_config(**SHORT)) as opened:
        yield opened


async def summaries_written(scene: Scene) -> int:
    return sum(request.background for request in scene.client.requests)


async def until_summed_up(scene: Scene, text: str, place: Place = GENERAL) -> int:
    """Talk until the model was asked for a summary, which is `text`; how many turns it took."""
    for number in range(30):
        scene.client.by_channel.setdefault(
            f"{place.key} summary", type(scene.client.scripts)()
        ).append(text)
        await talk(scene, 1, place, start=number)
        if await summaries_written(scene):
            return number + 1
    raise AssertionError("no summary was asked for")


async def test_what_falls_out_of_the_window_is_summed_up_and_stays_in_the_prompt(
    short: Scene,
) -> None:
    turns = await until_summed_up(short, "Ann spoke of turn zero.")
    asked = next(request for request in short.client.requests if request.background)
    assert asked.adapter == "base"
    assert "Ann: turn0" in asked.messages[1].content
    assert "Captain Mirela Vex: reply0" in asked.messages[1].content
    assert await said(short, "/summary show") == "Ann spoke of turn zero."
    await talk(short, 1, start=turns)
    assert system(short).endswith("What happened before, in short:\nAnn spoke of turn zero.")
    assert "turn0 " not in last_prompt(short)
    assert f"turn{turns - 1} " in last_prompt(short)
    greeting = short.behind.casting.character(await short.behind.turns.channel(GENERAL)).greeting
    assert greeting not in last_prompt(short)  # it belongs to the beginning


async def test_the_prompt_s_beginning_stays_until_the_next_summary(short: Scene) -> None:
    turns = await until_summed_up(short, "Ann spoke of turn zero.")
    await talk(short, 1, start=turns)
    before = [message.content for message in replies_asked(short)[-1].messages]
    await talk(short, 1, start=turns + 1)
    after = [message.content for message in replies_asked(short)[-1].messages]
    assert after[: len(before)] == before


async def test_a_summary_is_of_one_channel_and_one_scene(short: Scene) -> None:
    turns = await until_summed_up(short, "Ann spoke of turn zero.")
    await ask(short, "Hello?", "Aye.", MARKET)
    assert "turn zero" not in last_prompt(short)
    await said(short, "/persona set bramble")
    await ask(short, "Hello?", "Aye.")
    assert "turn zero" not in last_prompt(short)
    assert "no summary" in await said(short, "/summary show")
    await said(short, "/persona set mirela")
    await talk(short, 1, start=turns)
    assert "turn zero" not in last_prompt(short)


@pytest.mark.parametrize(
    "script",
    [
        Script([], refusal=InferenceError("The queue is full.")),
        Script(["Broken"], finish="error", error="It died."),
        Script([""]),
        words("on and on and on and on and on and on and on and on and on and on and on"),
    ],
)
async def test_a_failed_summary_blocks_nothing(short: Scene, script: Script) -> None:
    short.client.by_channel[f"{GENERAL.key} summary"] = type(short.client.scripts)([script])
    await talk(short, 9)
    assert await summaries_written(short) == 1  # and it is not tried again at once
    assert len(short.replies) == 9
    assert short.notices == []
    assert "no summary" in await said(short, "/summary show")


async def test_replies_do_not_wait_for_a_summary(short: Scene) -> None:
    gate = asyncio.Event()
    script = words("It was told.", gate=gate)
    scripts: list[Script | str] = [script, *["It was all told."] * 9]
    short.client.by_channel[f"{GENERAL.key} summary"] = type(short.client.scripts)(scripts)
    for number in range(9):
        short.client.scripts.append(f"reply{number}")
        await short.say(long_line(number))
        await short.settled()
    assert len(short.replies) == 9
    assert await summaries_written(short) == 1
    gate.set()
    await short.behind.turns.keeper.idle()
    assert await said(short, "/summary show") == "It was all told."


async def test_a_summary_is_edited_cleared_and_redone(short: Scene) -> None:
    turns = await until_summed_up(short, "By the model.")
    assert "remembers" in await said(short, "/summary set Ann owes ten coins.")
    await talk(short, 1, start=turns)
    assert "Ann owes ten coins." in system(short)
    assert "By the model." not in system(short)
    assert "written by hand" in await said(short, "/summary show")
    await said(short, "/summary clear")
    await talk(short, 1, start=turns + 1)
    assert "What happened before" not in system(short)
    short.client.by_channel[f"{GENERAL.key} summary"] = type(short.client.scripts)(
        ["All of it anew."] * 9
    )
    await said(short, "/summary redo")
    await short.behind.turns.keeper.idle()
    assert await said(short, "/summary show") == "All of it anew."
    memory = short.behind.commands.memory
    for attempt in (
        memory.set_summary(GENERAL, ANN, "x"),
        memory.clear_summary(GENERAL, ANN),
        memory.redo_summary(GENERAL, ANN),
    ):
        with pytest.raises(CommandError, match="permission"):
            await attempt


async def test_a_summary_under_way_keeps_nothing_of_what_is_deleted(short: Scene) -> None:
    gate = asyncio.Event()
    scripts: list[Script | str] = [words("It was a secret.", gate=gate), *["Nothing of it."] * 9]
    short.client.by_channel[f"{GENERAL.key} summary"] = type(short.client.scripts)(scripts)
    first = await short.say(long_line(0))
    await short.settled()
    for number in range(1, 20):
        if await summaries_written(short):
            break
        await short.say(long_line(number))
        await short.settled()
    await until(lambda: short.client.writing)
    assert first.post_id is not None
    await short.behind.turns.deleted(GENERAL.key, first.post_id)
    gate.set()
    await short.behind.turns.keeper.idle()
    assert "secret" not in await said(short, "/summary show")
