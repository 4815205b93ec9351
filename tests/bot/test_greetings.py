"""The other greetings of a character are swipes behind the one that it opens a scene with."""

from __future__ import annotations

import json
import random

import pytest

from bot.card_commands import Author
from bot.controls import Person
from bot.errors import CommandError
from db.messages import Message
from tests.bot.conftest import GENERAL, Scene

CHANGER = Person("discord:1", may_switch=True)
ANN = Person("discord:500", may_switch=False)
BOOK = {
    "entries": [
        {
            "enabled": True,
            "insertion_order": 0,
            "keys": ["storm"],
            "content": "@@is_greeting 2\nStorms come from the west.",
        }
    ]
}


async def enter(scene: Scene, greeting: int = 1, **fields: object) -> Message:
    """Ash speaks here from now on, and opens the scene."""
    data = {
        "name": "Ash",
        "first_mes": "One, {{user}}.",
        "alternate_greetings": ["Two, {{user}}.", "  ", "Three of {{roll:1000000}}."],
        "character_book": BOOK,
        **fields,
    }
    card = json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}).encode()
    cards = scene.behind.commands.cards
    await cards.import_bytes(GENERAL, Author("discord:99"), card, "ash.json")
    await scene.behind.commands.persona_set(GENERAL, "ash", greeting)
    channel = await scene.behind.turns.channel(GENERAL)
    character = scene.behind.casting.cast.get("ash")
    said = await scene.behind.turns.greet(channel, character, "Ann")
    assert said is not None
    return said


async def swipe(scene: Scene, step: int, who: Person = CHANGER) -> str:
    """What is remembered of the greeting after a swipe."""
    await scene.behind.commands.controls.swipe(GENERAL, who, step)
    channel = await scene.behind.turns.channel(GENERAL)
    [greeting] = await scene.behind.database.messages.history(channel, limit=5)
    assert scene.stage.shown.changed[-1][1] == greeting.content
    return greeting.content


async def test_the_others_are_swipes_in_their_order(scene: Scene) -> None:
    said = await enter(scene)
    assert scene.stage.shown.said[-1][1] == said.content == "One, Ann."
    assert await swipe(scene, 1) == "Two, Ann."
    third = await swipe(scene, 1)
    assert third.startswith("Three of ")
    with pytest.raises(CommandError, match="no later version"):
        await swipe(scene, 1)
    assert await swipe(scene, -1) == "Two, Ann."
    assert await swipe(scene, 1) == third, "what was rolled once stays"


async def test_from_a_chosen_one_on_they_go_round(scene: Scene) -> None:
    said = await enter(scene, greeting=2)
    assert said.content == "Two, Ann."
    assert (await swipe(scene, 1)).startswith("Three of ")
    assert await swipe(scene, 1) == "One, Ann."


async def test_the_scene_goes_on_from_the_one_that_is_shown(scene: Scene) -> None:
    await enter(scene, alternate_greetings=["Two.", "Three."])
    await swipe(scene, 1)
    await swipe(scene, 1)
    await scene.say("a storm?")
    await scene.settled()
    request = scene.client.requests[-1]
    assert ("assistant", "Three.") in scene.prompt()
    assert "Storms come from the west." in request.messages[0].content, "lore of greeting 2"
    channel = await scene.behind.turns.channel(GENERAL)
    assert channel.greeting == 2


async def test_any_way_of_swiping_leaves_number_and_text_together(scene: Scene) -> None:
    texts = ["One.", "Two.", "Four.", "Five."]
    await enter(scene, 2, first_mes="One.", alternate_greetings=["Two.", "", "Four.", "Five."])
    chance = random.Random(1)
    for _ in range(25):
        try:
            text = await swipe(scene, chance.choice((-1, 1)))
        except CommandError:
            continue
        channel = await scene.behind.turns.channel(GENERAL)
        assert texts.index(text) == channel.greeting  # cards leave empty ones out


async def test_only_who_may_change_the_channel_may(scene: Scene) -> None:
    await enter(scene)
    with pytest.raises(CommandError, match="may change this channel"):
        await swipe(scene, 1, ANN)


async def test_a_single_greeting_has_no_versions(scene: Scene) -> None:
    said = await enter(scene, alternate_greetings=[])
    assert await scene.behind.database.feedback.variants(said.id) == []
    with pytest.raises(CommandError, match="no later version"):
        await swipe(scene, 1)


async def test_a_reply_that_is_swiped_changes_no_greeting(scene: Scene) -> None:
    await enter(scene, alternate_greetings=["Two."])
    scene.client.scripts.append("First words.")
    await scene.say("hi")
    await scene.settled()
    scene.client.scripts.append("Second words.")
    await scene.behind.commands.controls.regenerate(GENERAL, CHANGER)
    await scene.settled()
    await scene.behind.commands.controls.swipe(GENERAL, CHANGER, -1)
    assert (await scene.behind.turns.channel(GENERAL)).greeting == 0
