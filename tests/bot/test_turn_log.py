"""Every turn is one line of the log, with figures and without words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from bot.controls import Person
from bot.stage import DeliveryRefused
from bot.turn_log import Stopwatch
from config import Config, LogSettings
from db.messages import Message
from inference.log_lines import FIELDS, OneLineFormatter
from inference.types import RequestRefused, Usage
from tests.bot.conftest import GENERAL, Scene, scene_in
from tests.bot.scripted import Script, until, words

USAGE = Usage(
    prompt_tokens=40,
    cached_tokens=30,
    completion_tokens=6,
    first_token_seconds=0.0,
    total_seconds=0.0,
)


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of all turns so far."""
    return [getattr(record, FIELDS) for record in caplog.records if hasattr(record, FIELDS)]


async def _ended(scene: Scene) -> None:
    await scene.settled()
    await scene.behind.turns.keeper.idle()


async def test_a_reply_is_one_line_with_its_figures_and_flags(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.client.scripts += [
        "The harbour wakes early.",
        words("I am Captain Mirela Vex, sailor of storms.", usage=USAGE, pause=0.01),
    ]
    await scene.say("Good morning!")
    await _ended(scene)
    question = scene.made("Nice weather today.")
    heard = await scene.behind.turns.hear(question)
    assert heard is not None
    await _ended(scene)
    first, second = lines(caplog)
    assert (first["reply_number"], first["introduces"]) == (0, False)
    assert first["prompt_tokens"] is first["waited_seconds"] is None
    measured = {name: second.pop(name) for name in ("first_token_seconds", "total_seconds")}
    assert 0.01 <= measured["first_token_seconds"] < measured["total_seconds"]
    assert second.pop("waited_seconds") == measured["total_seconds"]  # the engine took no time
    assert second == {
        "channel": "discord:1",
        "question": heard.id,
        "kind": "reply",
        "persona": "mirela",
        "adapter": "base",
        "finish_reason": "stop",
        "prompt_tokens": 40,
        "cached_tokens": 30,
        "tokens": 6,
        "reply_number": 1,
        "words": 8,
        "elicited": False,
        "introduces": True,
        "restates": False,
        "duplicate": False,
        "same_opening": False,
        "xtr4": 0.0,
    }


async def test_no_line_holds_what_was_said_or_who_said_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.client.scripts.append("Xylophones galore.")
    await scene.say("Tell me about my zeppelin, quick.")
    await _ended(scene)
    [record] = [record for record in caplog.records if hasattr(record, FIELDS)]
    for form in ("text", "json"):
        line = OneLineFormatter(form).format(record)
        assert "discord:1" in line
        for word in ("Xylophones", "zeppelin", "Ann", "500"):
            assert word not in line.replace("discord:1", "").replace("0.500", "")


async def test_words_where_the_settings_ask_for_them(
    make_config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_in(make_config(log=LogSettings(messages=True))) as scene:
        scene.client.scripts.append("Xylophones galore.")
        await scene.say("Tell me about my zeppelin.")
        await _ended(scene)
    [line] = lines(caplog)
    assert (line["asked"], line["said"]) == ("Tell me about my zeppelin.", "Xylophones galore.")


async def test_what_is_written_anew_or_continued_is_a_turn_too(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.say("Good morning!")
    await _ended(scene)
    controls, who = scene.behind.commands.controls, Person("discord:500", may_switch=True)
    scene.client.scripts += ["I'm Captain Mirela Vex.", "And more of it."]
    await controls.regenerate(GENERAL, who)
    await _ended(scene)
    await controls.go_on(GENERAL, who)
    await _ended(scene)
    assert [line["kind"] for line in lines(caplog)] == ["reply", "regenerated", "continued"]
    assert [line["introduces"] for line in lines(caplog)] == [False, True, True]
    assert len(scene.behind.turns.rates) == 1  # the rates are of replies as they first stood


async def test_turns_without_a_reply_say_how_they_ended(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.client.scripts += [
        Script([], refusal=RequestRefused("The queue is full.")),
        Script(["Half a "], finish="error", error="The worker died."),
        words("never shown"),
        "fine",
    ]
    await scene.say("one")
    await scene.say("two")
    await _ended(scene)
    scene.stage.broken = DeliveryRefused("no permission")
    await scene.say("three")
    await _ended(scene)
    scene.stage.broken = None

    async def broken(*_: object) -> Message:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(scene.behind.turns._replies, "answer", broken)
    await scene.say("four")
    await _ended(scene)
    assert [line["finish_reason"] for line in lines(caplog)] == [
        "error",
        "error",
        "undelivered",
        "error",
    ]


async def test_what_cannot_be_asked_of_the_model_is_refused(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await scene.behind.turns.channel(GENERAL)
    await scene.behind.database.channels.set(channel.id, persona="nobody")
    await scene.say("Hello?")
    await _ended(scene)
    [line] = lines(caplog)
    assert (line["finish_reason"], line["adapter"], line["persona"]) == ("refused", "", "")


async def test_a_stopped_reply_is_one_line(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.client.scripts.append(words("one two three", gate=asyncio.Event(), gate_at=1))
    await scene.say("Count!")
    await until(lambda: scene.stage.shown.updates)
    channel = await scene.behind.turns.channel(GENERAL)
    running = scene.behind.turns.running(channel)
    assert running is not None
    scene.behind.turns.stop(channel, running)
    await _ended(scene)
    [line] = lines(caplog)
    assert line["finish_reason"] == "cancelled"
    assert line["first_token_seconds"] is not None


async def test_a_reply_at_the_very_end_still_has_its_line(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene_in(config) as scene:
        await scene.behind.turns.keeper.close()
        await scene.say("Good night!")
        await scene.settled()
    [line] = lines(caplog)
    assert line["finish_reason"] == "stop"
    assert "introduces" not in line  # nobody was left to measure it


def test_the_wait_is_what_the_engine_did_not_take() -> None:
    times = iter([100.0, 103.0, 104.0, 107.0])
    watch = Stopwatch(lambda: next(times))
    watch.words()
    watch.words()  # only the first words count, and the clock is not even asked
    usage = USAGE.model_copy(update={"first_token_seconds": 1.0, "total_seconds": 2.5})
    timing = watch.read(usage)
    assert (timing.waited, timing.first_token, timing.total) == (1.5, 3.0, 4.0)
    assert watch.read(USAGE.model_copy(update={"total_seconds": 99.0})).waited == 0.0
