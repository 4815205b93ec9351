"""What people do with a reply at once, in the middle of things, and when it goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from bot.errors import CommandError
from bot.reply import Running
from bot.stage import DeliveryInterrupted, DeliveryRefused
from config import Config
from db.messages import Message
from inference.types import InferenceError
from tests.bot.conftest import GENERAL, Scene, scene_in
from tests.bot.scripted import Script, until, words
from tests.bot.test_controls import (
    ADMIN,
    ASKER,
    STRANGER,
    answered,
    controls,
    newest,
    remembered,
    versions,
)


async def test_two_people_at_once_are_one_after_the_other(scene: Scene) -> None:
    await answered(scene)
    gate = asyncio.Event()
    scene.client.scripts.append(words("Second words.", gate=gate))
    scene.client.scripts.append(Script(["Never."]))
    results = await asyncio.gather(
        controls(scene).regenerate(GENERAL, ASKER),
        controls(scene).regenerate(GENERAL, ADMIN),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, CommandError)]
    assert len(refused) == 1
    assert "in the middle of a reply" in str(refused[0])
    with pytest.raises(CommandError, match="in the middle"):
        await controls(scene).edit(GENERAL, ADMIN, "Mine.")
    gate.set()
    await scene.settled()
    assert await remembered(scene) == ["hi", "Second words."]


@pytest.mark.parametrize("fails", [False, True])
async def test_work_that_nobody_waits_for_any_more_leaves_the_channel_answering(
    scene: Scene, fails: bool
) -> None:
    channel = await scene.behind.turns.channel(GENERAL)
    gate = asyncio.Event()

    async def work(_: Running) -> str:
        await gate.wait()
        if fails:
            raise CommandError("That fails.")
        return "done"

    waiter = scene.behind.turns.begin(channel, Running(0), work)
    await scene.say("and?")
    waiter.cancel()
    gate.set()
    await scene.settled()
    assert scene.replies == ["You said: Ann: and?"]


async def test_what_is_said_meanwhile_is_answered_afterwards(scene: Scene) -> None:
    await answered(scene)
    gate = asyncio.Event()
    scene.client.scripts.append(words("Second words.", gate=gate))
    await controls(scene).regenerate(GENERAL, ASKER)
    await until(lambda: scene.client.writing)
    await scene.say("and?")
    gate.set()
    await scene.settled()
    assert scene.replies[-2:] == ["Second words.", "You said: Ann: and?"]
    assert ("assistant", "Second words.") in scene.prompt()


async def test_a_stopped_version_stays_as_far_as_it_was_shown(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(words("Half of it never", gate=asyncio.Event(), gate_at=3))
    await controls(scene).regenerate(GENERAL, ASKER)
    await until(lambda: scene.stage.shown.updates[-1:] == ["Half of it"])
    with pytest.raises(CommandError, match="Only who asked"):
        await controls(scene).stop(GENERAL, STRANGER, reply.id)
    await controls(scene).stop(GENERAL, ASKER, reply.id)
    await scene.settled()
    with pytest.raises(CommandError, match="not being written any more"):
        await controls(scene).stop(GENERAL, ASKER, reply.id)
    assert await remembered(scene) == ["hi", "Half of it"]
    assert await versions(scene, reply) == [("First words.", False), ("Half of it", True)]
    assert (await newest(scene)).finish_reason == "cancelled"


async def test_stopped_before_its_first_word_nothing_changes(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(words("Never", gate=asyncio.Event()))
    await controls(scene).regenerate(GENERAL, ASKER)
    await until(lambda: scene.client.writing)
    await controls(scene).stop(GENERAL, ASKER)
    await scene.settled()
    assert await remembered(scene) == ["hi", "First words."]
    assert await versions(scene, reply) == []
    assert (await newest(scene)).finish_reason == "stop"


@pytest.mark.parametrize(
    "script",
    [
        Script([], refusal=InferenceError("The queue is full.")),
        Script([], finish="error", error="The queue is full."),
    ],
)
async def test_a_failure_is_told_and_changes_nothing(scene: Scene, script: Script) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(script)
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    assert scene.notices == ["The queue is full."]
    assert await remembered(scene) == ["hi", "First words."]
    assert await versions(scene, reply) == []


async def test_what_cannot_be_shown_is_not_remembered(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(Script(["Second."]))
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    scene.stage.broken = DeliveryInterrupted("Discord is away.")
    for refused in (
        controls(scene).swipe(GENERAL, ASKER, -1),
        controls(scene).edit(GENERAL, ASKER, "Mine."),
        controls(scene).undo(GENERAL, ASKER),
        controls(scene).say(GENERAL, ADMIN, "Hear!"),
        controls(scene).rewind(GENERAL, ADMIN, 1),
    ):
        with pytest.raises(CommandError, match=r"nothing changes: Discord is away\."):
            await refused
    assert await remembered(scene) == ["hi", "Second."]
    assert await versions(scene, reply) == [("First words.", False), ("Second.", True)]


async def test_a_channel_that_takes_no_more_keeps_the_old_version(scene: Scene) -> None:
    reply = await answered(scene)
    scene.stage.broken = DeliveryRefused("No permission.")
    scene.client.scripts.append(Script(["Second."]))
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    assert await remembered(scene) == ["hi", "First words."]
    assert await versions(scene, reply) == []


async def test_a_version_broken_off_by_the_end_of_the_process_is_settled_after_it(
    config: Config,
) -> None:
    async with scene_in(config) as scene:
        reply = await answered(scene)
        await scene.behind.database.rewriting.begin_variant(
            reply.id, "Half of", adapter="base", sampling={}, created_at=9.0
        )
    async with scene_in(config) as scene:
        channel = await scene.behind.turns.channel(GENERAL)
        await scene.behind.turns.resume([channel])
        assert await remembered(scene) == ["hi", "Half of"]
        settled = await newest(scene)
        assert (settled.state, settled.finish_reason) == ("complete", "cancelled")
        assert scene.stage.shown.changed == [(GENERAL.key, "Half of")]
        await controls(scene).swipe(GENERAL, ASKER, -1)
        assert await remembered(scene) == ["hi", "First words."]


async def test_a_reply_whose_question_is_gone_is_not_written_anew(scene: Scene) -> None:
    await answered(scene)
    await scene.behind.turns.deleted(GENERAL.key, scene.posts)
    with pytest.raises(CommandError, match="answers nothing"):
        await controls(scene).regenerate(GENERAL, ADMIN)
    with pytest.raises(CommandError, match="Only who asked"):
        await controls(scene).regenerate(GENERAL, ASKER)


async def test_a_reply_deleted_while_it_is_written_anew_is_gone(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(words("Half of it never", gate=asyncio.Event(), gate_at=2))
    await controls(scene).regenerate(GENERAL, ASKER)
    await until(lambda: scene.stage.shown.updates[-1:] == ["Half of"])
    await scene.behind.turns.deleted(GENERAL.key, reply.post_ids[0])
    await scene.settled()
    assert await remembered(scene) == ["hi"]


async def test_a_version_that_cannot_be_shown_to_its_end_is_settled(scene: Scene) -> None:
    reply = await answered(scene)
    scene.stage.broken_after = DeliveryInterrupted("Discord is away.")
    scene.client.scripts.append(Script(["Second."]))
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    settled = await newest(scene)
    assert (settled.id, settled.content) == (reply.id, "Second.")
    assert (settled.state, settled.finish_reason) == ("complete", "cancelled")


async def test_only_the_reply_that_was_looked_at_is_stopped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await answered(scene)
    first, second = asyncio.Event(), asyncio.Event()
    scene.client.scripts.append(words("Of the asker.", gate=first))
    scene.client.scripts.append(words("Of somebody else.", gate=second))
    await scene.say("one")
    await scene.say("two", author_key=STRANGER.key)
    await until(lambda: len(scene.client.requests) == 2)
    messages, get = scene.behind.database.messages, scene.behind.database.messages.get

    async def slow(message_id: int) -> Message | None:
        found = await get(message_id)
        monkeypatch.setattr(messages, "get", get)
        first.set()
        await until(lambda: len(scene.client.requests) == 3)  # the next reply is begun meanwhile
        return found

    monkeypatch.setattr(messages, "get", slow)
    with pytest.raises(CommandError, match="not being written any more"):
        await controls(scene).stop(GENERAL, ASKER)
    second.set()
    await scene.settled()
    assert scene.replies[-2:] == ["Of the asker.", "Of somebody else."]
