"""What people may do with a reply: versions, more of it, edits, taking back, votes."""

from __future__ import annotations

import asyncio

import pytest

from bot.controls import Controls, Outdated, Person
from bot.errors import CommandError
from db.messages import Message
from tests.bot.conftest import DIRECT, GENERAL, Scene
from tests.bot.scripted import Script, until, words

ASKER = Person("discord:500", may_switch=False)
ADMIN = Person("discord:900", may_switch=True)
STRANGER = Person("discord:700", may_switch=False)


def controls(scene: Scene) -> Controls:
    return scene.behind.commands.controls


async def answered(scene: Scene, text: str = "hi", reply: str = "First words.") -> Message:
    """The reply to a question of the asker's."""
    scene.client.scripts.append(Script([reply]))
    await scene.say(text)
    await scene.settled()
    return await newest(scene)


async def newest(scene: Scene) -> Message:
    channel = await scene.behind.turns.channel(GENERAL)
    found = await scene.behind.database.rewriting.newest_reply(channel)
    assert found is not None
    return found


async def remembered(scene: Scene) -> list[str]:
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=100)
    return [message.content for message in history]


async def versions(scene: Scene, reply: Message) -> list[tuple[str, bool]]:
    found = await scene.behind.database.feedback.variants(reply.id)
    return [(variant.content, variant.chosen) for variant in found]


async def test_a_regenerated_reply_takes_the_place_of_the_first_and_both_stay(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(words("Second words."))
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    assert scene.replies[-1] == "Second words."
    assert await remembered(scene) == ["hi", "Second words."]
    assert await versions(scene, reply) == [("First words.", False), ("Second words.", True)]
    assert scene.prompt(-1) == scene.prompt(-2)
    first, second = (request.sampling.seed for request in scene.client.requests)
    assert first != second
    again = await newest(scene)
    assert (again.state, again.finish_reason, again.adapter) == ("complete", "stop", "base")
    kept = await scene.behind.database.feedback.variants(reply.id)
    assert [variant.finish_reason for variant in kept] == ["stop", "stop"]


async def test_until_the_first_new_word_the_old_text_is_what_is_remembered(scene: Scene) -> None:
    await answered(scene)
    gate = asyncio.Event()
    scene.client.scripts.append(words("Second words.", gate=gate))
    await controls(scene).regenerate(GENERAL, ASKER)
    await until(lambda: scene.client.writing)
    assert await remembered(scene) == ["hi", "First words."]
    gate.set()
    await scene.settled()
    assert await remembered(scene) == ["hi", "Second words."]


async def test_the_version_swiped_to_is_the_one_remembered(scene: Scene) -> None:
    reply = await answered(scene)
    for text in ("Second.", "Third."):
        scene.client.scripts.append(Script([text]))
        await controls(scene).regenerate(GENERAL, ASKER)
        await scene.settled()
    answer = await controls(scene).swipe(GENERAL, ASKER, -1)
    assert answer.text == "Version 2 of 3."
    assert scene.stage.shown.changed[-1][1] == "Second."
    assert await remembered(scene) == ["hi", "Second."]
    await controls(scene).swipe(GENERAL, ASKER, -1, reply.id)
    with pytest.raises(CommandError, match="no earlier"):
        await controls(scene).swipe(GENERAL, ASKER, -1)
    assert await remembered(scene) == ["hi", "First words."]
    for _ in range(2):
        await controls(scene).swipe(GENERAL, ASKER, 1)
    with pytest.raises(CommandError, match="no later"):
        await controls(scene).swipe(GENERAL, ASKER, 1)
    await scene.say("and now?")
    await scene.settled()
    assert ("assistant", "Third.") in scene.prompt()


async def test_only_one_version_cannot_be_swiped(scene: Scene) -> None:
    await answered(scene)
    for step in (1, -1):
        with pytest.raises(CommandError):
            await controls(scene).swipe(GENERAL, ASKER, step)


async def test_continuing_a_finished_reply_lets_the_character_speak_once_more(scene: Scene) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(words("And more."))
    await controls(scene).go_on(GENERAL, ASKER)
    await scene.settled()
    assert await remembered(scene) == ["hi", "First words. And more."]
    assert scene.prompt()[-1] == ("assistant", "First words.")
    assert not scene.client.requests[-1].continues
    assert await versions(scene, reply) == []


async def test_continuing_a_reply_that_was_cut_off_goes_on_in_mid_word(scene: Scene) -> None:
    scene.client.info = scene.client.info.model_copy(update={"continues": True})
    scene.client.scripts.append(Script(["It was a dark and stor"], finish="length"))
    await scene.say("a tale")
    await scene.settled()
    scene.client.scripts.append(Script(["my", " night."]))
    await controls(scene).go_on(GENERAL, ASKER)
    await scene.settled()
    assert await remembered(scene) == ["a tale", "It was a dark and stormy night."]
    assert scene.client.requests[-1].continues


async def test_an_edit_is_what_is_remembered(scene: Scene) -> None:
    await answered(scene)
    await controls(scene).edit(GENERAL, ASKER, " Other words. ")
    assert scene.stage.shown.changed[-1][1] == "Other words."
    assert await remembered(scene) == ["hi", "Other words."]
    assert (await newest(scene)).edited_at is not None
    for text in ("", "  \n", "x" * 8001):
        with pytest.raises(CommandError, match="1 to 8000"):
            await controls(scene).edit(GENERAL, ASKER, text)


async def test_undo_takes_replies_back_one_by_one(scene: Scene) -> None:
    first = await answered(scene, "one", "First.")
    second = await answered(scene, "two", "Second.")
    answer = await controls(scene).undo(GENERAL, ASKER)
    assert answer.text == "Taken back: “Second.”"
    assert scene.stage.shown.removed == list(second.post_ids)
    assert await remembered(scene) == ["one", "First.", "two"]
    assert scene.stage.shown.changed[-1][1] == "First."  # it has the buttons now
    await controls(scene).undo(GENERAL, ASKER, first.id)
    assert await remembered(scene) == ["one", "two"]
    with pytest.raises(CommandError, match="No character has said"):
        await controls(scene).undo(GENERAL, ASKER)


async def test_rewind_takes_whole_exchanges_back(scene: Scene) -> None:
    for number in ("one", "two", "three"):
        await answered(scene, number, f"Reply to {number}.")
    await scene.say("by the way", addressed=False)
    with pytest.raises(CommandError, match="settings"):
        await controls(scene).rewind(GENERAL, ASKER, 2)
    answer = await controls(scene).rewind(GENERAL, ADMIN, 2)
    assert "5 messages" in answer.text
    assert "“two”" in answer.text
    assert await remembered(scene) == ["one", "Reply to one."]
    assert len(scene.stage.shown.removed) == 2
    await controls(scene).rewind(GENERAL, ADMIN, 50)
    assert await remembered(scene) == []
    for count in (0, -1, 51):
        with pytest.raises(CommandError, match="from 1 to 50"):
            await controls(scene).rewind(GENERAL, ADMIN, count)
    with pytest.raises(CommandError, match="nothing to take back"):
        await controls(scene).rewind(GENERAL, ADMIN, 1)


async def test_words_can_be_put_into_the_characters_mouth(scene: Scene) -> None:
    with pytest.raises(CommandError, match="settings"):
        await controls(scene).say(GENERAL, ASKER, "Give gold.")
    await controls(scene).say(GENERAL, ADMIN, "The gate is open.")
    assert scene.stage.shown.said[-1][1] == "The gate is open."
    await scene.say("which gate?")
    await scene.settled()
    assert ("assistant", "The gate is open.") in scene.prompt()
    with pytest.raises(CommandError, match="Only who asked"):
        await controls(scene).undo(GENERAL, STRANGER)


@pytest.mark.parametrize("who", [ASKER, ADMIN])
async def test_who_asked_and_who_may_switch_may_change_a_reply(scene: Scene, who: Person) -> None:
    reply = await answered(scene)
    scene.client.scripts.append(Script(["Second."]))
    await controls(scene).regenerate(GENERAL, who, reply.id)
    await scene.settled()
    await controls(scene).swipe(GENERAL, who, -1, reply.id)
    await controls(scene).edit(GENERAL, who, "Mine.", reply.id)
    await controls(scene).undo(GENERAL, who, reply.id)


async def test_strangers_may_vote_and_nothing_else(scene: Scene) -> None:
    reply = await answered(scene)
    used = controls(scene)
    for refused in (
        used.regenerate(GENERAL, STRANGER, reply.id),
        used.go_on(GENERAL, STRANGER, reply.id),
        used.swipe(GENERAL, STRANGER, 1, reply.id),
        used.edit(GENERAL, STRANGER, "Mine.", reply.id),
        used.undo(GENERAL, STRANGER, reply.id),
        used.text(GENERAL, STRANGER, reply.id),
    ):
        with pytest.raises(CommandError, match="Only who asked"):
            await refused
    assert (await used.vote(GENERAL, STRANGER, True, reply.id)).text == "👍 noted."
    assert await remembered(scene) == ["hi", "First words."]


async def test_votes_count_once_change_and_can_be_taken_back(scene: Scene) -> None:
    reply = await answered(scene)
    feedback = scene.behind.database.feedback
    await controls(scene).vote(GENERAL, ASKER, True)
    await controls(scene).vote(GENERAL, STRANGER, True, reply.id)
    assert await feedback.votes(reply.channel_id) == {reply.id: (2, 0)}
    await controls(scene).vote(GENERAL, ASKER, False)
    assert await feedback.votes(reply.channel_id) == {reply.id: (1, 1)}
    assert "taken back" in (await controls(scene).vote(GENERAL, ASKER, False)).text
    assert await feedback.votes(reply.channel_id) == {reply.id: (1, 0)}


async def test_a_reply_that_was_not_liked_stays_apart_from_the_one_that_is(scene: Scene) -> None:
    reply = await answered(scene)
    await controls(scene).vote(GENERAL, ASKER, False)
    scene.client.scripts.append(Script(["Second."]))
    await controls(scene).regenerate(GENERAL, ASKER)
    await scene.settled()
    await controls(scene).vote(GENERAL, STRANGER, True)
    cast = await scene.behind.database.feedback.votes_cast(reply.channel_id)
    first, second = await scene.behind.database.feedback.variants(reply.id)
    assert {(vote.variant_id, vote.liked) for vote in cast} == {
        (first.id, False),
        (second.id, True),
    }


async def test_reactions_are_votes(scene: Scene) -> None:
    reply = await answered(scene)
    [post] = reply.post_ids
    feedback = scene.behind.database.feedback
    await controls(scene).reacted(post, "discord:1", liked=True, added=True)
    assert await feedback.votes(reply.channel_id) == {reply.id: (1, 0)}
    await controls(scene).reacted(post, "discord:1", liked=False, added=False)  # not their vote
    assert await feedback.votes(reply.channel_id) == {reply.id: (1, 0)}
    await controls(scene).reacted(post, "discord:1", liked=True, added=False)
    assert await feedback.votes(reply.channel_id) == {}
    await controls(scene).reacted(100_000, "discord:1", liked=True, added=True)
    await controls(scene).reacted(101, "discord:1", liked=True, added=True)  # a person's post
    assert await feedback.votes(reply.channel_id) == {}


async def test_only_the_newest_reply_can_be_changed(scene: Scene) -> None:
    old = await answered(scene, "one")
    await answered(scene, "two")
    for refused in (
        controls(scene).regenerate(GENERAL, ADMIN, old.id),
        controls(scene).swipe(GENERAL, ADMIN, 1, old.id),
        controls(scene).undo(GENERAL, ADMIN, old.id),
    ):
        with pytest.raises(Outdated, match="Only the newest"):
            await refused
    with pytest.raises(Outdated, match="gone"):
        await controls(scene).undo(GENERAL, ADMIN, 10_000)


async def test_a_reply_of_another_channel_is_out_of_reach(scene: Scene) -> None:
    reply = await answered(scene)
    await scene.say("psst", DIRECT)
    await scene.settled()
    with pytest.raises(Outdated):
        await controls(scene).undo(DIRECT, ADMIN, reply.id)
    with pytest.raises(CommandError, match="no such reply"):
        await controls(scene).vote(DIRECT, ADMIN, True, reply.id)
    assert await remembered(scene) == ["hi", "First words."]
