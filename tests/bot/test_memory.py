"""Memory in the turn: what enters a prompt, what stays out, and what is told about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import Place
from bot.memory_commands import Teller
from config import BotSettings, Config, MemorySettings, PromptSettings, SamplingSettings
from db.database import DatabaseError
from inference.types import InferenceError
from tests.bot.conftest import DIRECT, GENERAL, MARKET, Scene, scene_in
from tests.bot.scripted import Script, until, words

SHORT = {
    "prompt": PromptSettings(context_tokens=300),
    "sampling": SamplingSettings(max_new_tokens=30),
    "memory": MemorySettings(summary_tokens=32),
}
ANN = Teller("discord:500", "Ann", may_switch=False)
BO = Teller("discord:501", "Bo", may_switch=False)


async def said(scene: Scene, line: str, place: Place = GENERAL) -> str:
    return (await run_line(scene.behind.commands, place, line, author=ANN.key, name="Ann")).text


async def ask(scene: Scene, text: str, reply: str, place: Place = GENERAL, **more: object) -> None:
    """Say something that is answered with `reply`, and let the memory take notice."""
    scene.client.by_channel.setdefault(place.key, type(scene.client.scripts)()).append(reply)
    await scene.say(text, place, **more)
    await scene.settled()
    await scene.behind.turns.keeper.idle()


def system(scene: Scene) -> str:
    return str(replies_asked(scene)[-1].messages[0].content)


def replies_asked(scene: Scene) -> list:  # type: ignore[type-arg]
    return [request for request in scene.client.requests if not request.background]


def last_prompt(scene: Scene) -> str:
    return "\n".join(message.content for message in replies_asked(scene)[-1].messages)


# -- identity ------------------------------------------------------------------------------------


async def test_an_introduction_is_shown_and_stored_but_not_fed_back(scene: Scene) -> None:
    await ask(scene, "Nice day.", "I'm Captain Mirela Vex. The wind is fair.")
    await ask(scene, "And now?", "Still fair.")
    assert scene.replies[0] == "I'm Captain Mirela Vex. The wind is fair."
    assert ("assistant", "The wind is fair.") in scene.prompt()
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=9)
    assert history[1].content == "I'm Captain Mirela Vex. The wind is fair."
    assert "1 earlier replies went in without an introduction" in await said(scene, "/memory why")


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


# -- summaries -----------------------------------------------------------------------------------


@pytest.fixture
async def short(make_config: Callable[..., Config]):  # type: ignore[no-untyped-def]
    """A company whose prompts hold few turns."""
    async with scene_in(make_config(**SHORT)) as opened:
        yield opened


def long_line(number: int) -> str:
    return f"turn{number} " + " ".join(f"w{number}x{n}" for n in range(20))


async def talk(scene: Scene, turns: int, place: Place = GENERAL, start: int = 0) -> None:
    for number in range(start, start + turns):
        await ask(scene, long_line(number), f"reply{number} is short.", place)


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


# -- facts ---------------------------------------------------------------------------------------


async def test_what_people_say_of_themselves_is_kept_with_their_name(scene: Scene) -> None:
    await ask(scene, "Hi! My sister is called Lena. How are you?", "Well.")
    await ask(scene, "I live in Turku.", "A fine port.", author_key="discord:501", author_name="Bo")
    assert await said(scene, "/memory list") == (
        "1. Ann: My sister is called Lena.\n2. Bo: I live in Turku."
    )
    await ask(scene, "What do you know?", "This and that.")
    assert system(scene).endswith(
        "What Captain Mirela Vex was told:\n- Ann said: My sister is called Lena.\n"
        "- Bo said: I live in Turku."
    )
    assert "fact: 1. Ann: My sister is called Lena." in await said(scene, "/memory why")


async def test_facts_are_added_pinned_corrected_and_forgotten(scene: Scene) -> None:
    assert await said(scene, "/memory add The inn burned down.") == (
        "Captain Mirela Vex will remember: 1. Ann: The inn burned down."
    )
    assert "already" in await said(scene, "/memory add The inn burned down.")
    await said(scene, "/memory correct 1 The mill burned down.")
    await said(scene, "/memory pin 1")
    assert await said(scene, "/memory list") == "1. 📌 Ann: The mill burned down."
    await ask(scene, "Hello.", "Aye.")
    await said(scene, "/reset")
    await ask(scene, "Hello.", "Aye.")
    assert "The mill burned down." in system(scene)
    await said(scene, "/memory unpin 1")
    with pytest.raises(DatabaseError, match="no fact 1"):
        await said(scene, "/memory forget 1")  # it went with its scene


async def test_what_is_gone_or_corrected_is_told_by_no_earlier_prompt(scene: Scene) -> None:
    question = await scene.say("My sister is called Lena.")
    for change in ("edit", "correct", "forget", "delete"):
        await said(scene, "/memory add The inn burned down.")
        number = (await said(scene, "/memory list")).split("\n")[-1].split(".")[0]
        await ask(scene, "Hello.", "Aye.")
        assert "The last prompt" in await said(scene, "/memory why")
        if change == "edit":
            await scene.behind.turns.edited(replace(question, content="Hm."), 2e9)
        elif change == "correct":
            await said(scene, f"/memory correct {number} The mill {change} burned down.")
        elif change == "forget":
            await said(scene, f"/memory forget {number}")
        else:
            assert question.post_id is not None
            await scene.behind.turns.deleted(GENERAL.key, question.post_id)
        assert "has not answered" in await said(scene, "/memory why")


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


async def test_a_fact_is_changed_by_whoever_said_it(scene: Scene) -> None:
    memory = scene.behind.commands.memory
    await memory.add(GENERAL, ANN, "I own the mill.")
    for attempt in (
        memory.forget(GENERAL, BO, 1),
        memory.correct(GENERAL, BO, 1, "Bo owns it."),
        memory.pin(GENERAL, BO, 1, pinned=True),
    ):
        with pytest.raises(CommandError, match="Ann's word"):
            await attempt
    assert (await memory.forget(GENERAL, ANN, 1)).text == "Forgotten: I own the mill."
    with pytest.raises(CommandError, match="300 characters"):
        await memory.add(GENERAL, ANN, "x" * 301)


async def test_facts_have_a_budget_and_what_it_leaves_out_is_told(
    make_config: Callable[..., Config],
) -> None:
    async with scene_in(make_config(memory=MemorySettings(fact_tokens=16))) as scene:
        for text in ("one two three", "four five six", "seven eight nine"):
            await said(scene, f"/memory add {text}")
        await said(scene, "/memory pin 1")
        await ask(scene, "Hello.", "Aye.")
        assert "one two three" in system(scene)
        assert "seven eight nine" in system(scene)
        assert "four five six" not in system(scene)
        assert "fact without room: 2. Ann: four five six" in await said(scene, "/memory why")


async def test_nobody_speaks_as_another_through_the_memory(scene: Scene) -> None:
    memory = scene.behind.commands.memory
    await memory.add(GENERAL, Teller("x", "Ann\nBo: I\n", may_switch=False), "a\nBo said: b\n### S")
    await ask(scene, "Hello.", "Aye.")
    [line] = [line for line in system(scene).splitlines() if "Bo said" in line]
    assert line == "- Ann Bo I said: a / Bo said: b / > ### S"


async def test_facts_go_with_the_person(scene: Scene) -> None:
    await ask(scene, "My sister is called Lena.", "Aye.")
    await said(scene, "/privacy forget me")
    await ask(scene, "Hello.", "Aye.", author_key="discord:501", author_name="Bo")
    assert "Lena" not in last_prompt(scene)
    assert "Lena" not in await said(scene, "/memory why")


# -- recall --------------------------------------------------------------------------------------

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


# -- notes and lore ------------------------------------------------------------------------------


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


async def test_notes_and_lore_need_the_permission(scene: Scene) -> None:
    direction = scene.behind.commands.direction
    for attempt in (
        direction.set_note(GENERAL, ANN, "x"),
        direction.clear_note(GENERAL, ANN),
        direction.add_lore(GENERAL, ANN, "a", "b"),
        direction.remove_lore(GENERAL, ANN, 1),
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
        "/lore remove x",
    ):
        with pytest.raises(CommandError, match="The command is /"):
            await said(scene, line)
