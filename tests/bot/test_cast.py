"""Several characters in one channel: who answers, what each remembers, what none says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.choosing import called, named
from bot.command_lines import run_line
from bot.errors import CommandError
from bot.scene import Ensemble, hidden_up_to, line_of, scene_messages
from bot.scene import scene_of as macros_of
from db.cast_members import Member
from db.messages import Message
from inference.adapters import AdapterError
from persona_prompts.cast import SHIPPED, Cast
from persona_prompts.character import CharacterError
from tests.bot.conftest import DIRECT, GENERAL, Scene
from tests.bot.scripted import Script
from tests.bot.test_commands import publish

CAST = Cast(SHIPPED)
MIRELA, BRAMBLE, MAUD = (CAST.get(id) for id in ("mirela", "bramble", "maud"))


async def said(scene: Scene, line: str) -> str:
    return (await run_line(scene.behind.commands, GENERAL, line)).text


async def speakers(scene: Scene) -> list[str | None]:
    """Who said the characters' messages of the channel, in order."""
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=100)
    return [message.persona for message in history if message.role == "character"]


async def ask(scene: Scene, content: str, *scripts: str | Script, **more: Any) -> None:
    scene.client.scripts.extend(scripts)
    await scene.say(content, **more)
    await scene.settled()


async def test_members_come_and_go(scene: Scene) -> None:
    assert await said(scene, "/cast add bramble") == "Sir Bramble joins in here."
    listed = await said(scene, "/cast list")
    assert "▸ **Captain Mirela Vex** (`mirela`), through default" in listed
    assert "· **Sir Bramble** (`bramble`), through default" in listed
    with pytest.raises(CommandError, match="Captain Mirela Vex speaks here already"):
        await said(scene, "/cast add mirela")
    with pytest.raises(CommandError, match="own character cannot leave"):
        await said(scene, "/cast remove mirela")
    with pytest.raises(CommandError, match="maud does not speak here"):
        await said(scene, "/cast remove Maud")
    with pytest.raises(CharacterError, match="There is no character"):
        await said(scene, "/cast add nobody-at-all")
    assert await said(scene, "/cast remove Sir Bramble") == "bramble speaks here no more."
    assert "Bramble" not in await said(scene, "/cast list")


async def test_there_is_a_limit(scene: Scene) -> None:
    others = [id for id in scene.behind.casting.cast.ids() if id != "mirela"]
    for id in others:
        await said(scene, f"/cast add {id}")
    assert len(others) == 7
    scene.behind.config.paths.personas.mkdir(parents=True)
    file = scene.behind.config.paths.personas / "ash.json"
    file.write_text('{"name": "Ash"}', encoding="utf-8")
    with pytest.raises(CommandError, match="8 characters are the most"):
        await said(scene, "/cast add ash")


async def test_each_has_its_own_adapter(scene: Scene) -> None:
    publish(scene, "pirate")
    publish(scene, "hedge")
    await said(scene, "/adapter set pirate")
    await said(scene, "/cast add bramble adapter:hedge")
    await ask(scene, "Bramble, hello?", "Hm.")
    await ask(scene, "Mirela, hello?", "Aye.")
    assert [request.adapter for request in scene.client.requests] == ["hedge", "pirate"]
    with pytest.raises(AdapterError, match="no adapter 'none'"):
        await said(scene, "/cast add maud adapter:none")
    assert "now speaks through `pirate`" in await said(scene, "/cast add bramble adapter:pirate")


async def test_who_is_named_answers(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "what does the Hedgehog think?", "Hm.")
    await ask(scene, "and you, Mirela?", "Aye.")
    assert await speakers(scene) == ["bramble", "mirela"]


async def test_who_is_replied_to_answers(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "Bramble, hello", "Hm.")
    channel = await scene.behind.turns.channel(GENERAL)
    newest = await scene.behind.database.speech.newest(channel.id)
    assert newest is not None
    await ask(scene, "why?", "So.", reply_to_post=newest.post_ids[0], addressed=False)
    assert await speakers(scene) == ["bramble", "bramble"]
    # Spoken to by name wins over being replied to.
    await ask(scene, "Mirela, and you?", "Aye.", reply_to_post=newest.post_ids[0])
    assert (await speakers(scene))[-1] == "mirela"


async def test_who_fits_answers(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "tell me about the harbour and the sails of your ship", "Aye.")
    assert (await speakers(scene))[-1] == "mirela"
    hedge = BRAMBLE.description.replace("{{char}}", "").replace("Bramble", "")
    await ask(scene, hedge, "Hm.", author_key="discord:501", author_name="Ben")
    assert (await speakers(scene))[-1] == "bramble"
    # Who talked with a person last goes on, where the words say nothing.
    await ask(scene, "and then?", "So.", author_key="discord:501", author_name="Ben")
    await ask(scene, "and then?", "Oh.")
    assert (await speakers(scene))[-2:] == ["bramble", "mirela"]


async def test_both_are_named_and_both_answer(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "Bramble and Mirela, what now?", "We wait.", "We sail.")
    assert await speakers(scene) == ["bramble", "mirela"]
    assert scene.prompt()[-1][1].splitlines()[-2:] == [
        "Ann: Bramble and Mirela, what now?",
        "Sir Bramble: We wait.",
    ]


async def test_they_answer_one_another_up_to_a_limit(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    endless = ["Ask Bramble.", "Ask Mirela.", "No, ask Bramble.", "Never.", "Never."]
    await ask(scene, "Mirela, who knows?", *endless)
    assert await speakers(scene) == ["mirela", "bramble", "mirela"]
    assert len(scene.client.requests) == 1 + scene.behind.config.bot.cast_replies
    # Its own earlier reply to the same question is its own line.
    assert [role for role, _ in scene.prompt()][-3:] == ["user", "assistant", "user"]


async def test_people_who_wait_come_first(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    scene.client.scripts.extend(["Ask Bramble.", "Next."])
    await scene.say("Mirela, who knows?")
    await scene.say("Mirela, hello?")
    await scene.settled()
    assert await speakers(scene) == ["mirela", "mirela"]


async def test_a_stopped_reply_ends_the_round(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "Mirela and Bramble?", Script(["Ask"], finish="error", error="It broke off."))
    assert await speakers(scene) == ["mirela"]


async def test_nobody_speaks_anothers_lines(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "hello", "Aye.", author_key="discord:501", author_name="Ben")
    scene.client.scripts.extend(["Sir Bramble: I say nothing.", "Ben: me neither."])
    await scene.say("Mirela, hello")
    await scene.settled()
    stop = scene.client.requests[-1].sampling.stop
    for name in ("Sir Bramble", "Ben", "Ann", "Captain Mirela Vex"):
        assert f"\n{name}:" in stop
    assert "found no words" in scene.notices[0]
    assert not any("Bramble" in text or "Ben" in text for text in scene.replies)
    assert all("Sir" not in text for text in scene.stage.shown.updates)


async def test_a_person_called_like_a_character_is_somebody(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    await ask(scene, "Mirela, I am he", "No.", author_name="sir  bramble")
    assert scene.prompt()[-1] == ("user", "someone: Mirela, I am he")


async def test_each_remembers_what_it_was_there_for(scene: Scene) -> None:
    await ask(scene, "the password is marzipan", "Aye.")
    await said(scene, "/cast add bramble")
    await ask(scene, "Bramble, what is it?", "No idea.")
    assert "marzipan" not in str(scene.prompt())
    await ask(scene, "Mirela, what did he say?", "Nothing.")
    assert "marzipan" in str(scene.prompt())
    assert "Sir Bramble: No idea." in str(scene.prompt())
    await said(scene, "/cast remove bramble")
    await ask(scene, "now it is nougat", "Aye.")
    # What Bramble said stays with Mirela, who heard it.
    assert "Sir Bramble: No idea." in str(scene.prompt())
    await said(scene, "/cast add bramble")
    await ask(scene, "Bramble, and now?", "Hm.")
    assert "nougat" not in str(scene.prompt())
    assert "what is it?" in str(scene.prompt())


async def test_what_is_hidden_from_recall_and_summaries(scene: Scene) -> None:
    database = scene.behind.database
    await ask(scene, "the password is marzipan", "Aye.")
    await said(scene, "/cast add bramble")
    await ask(scene, "Bramble, hello", "Hm.")
    channel = await scene.behind.turns.channel(GENERAL)
    [member] = channel.present
    stage = Ensemble("mirela", channel.members)

    async def hidden(persona: str, ensemble: Ensemble) -> int:
        return await hidden_up_to(database.recall, channel.id, persona, ensemble)

    assert await hidden("mirela", stage) == 0
    assert await hidden("bramble", stage) == member.since
    # Where another one was the channel's own before, its talk is nobody else's.
    swapped = Ensemble("bramble", (Member("mirela", member.since),))
    first = (await database.messages.history(channel, limit=10))[0]
    assert await hidden("bramble", swapped) == first.id
    assert await hidden("maud", Ensemble("maud")) > member.since


async def test_a_thread_starts_with_the_cast(scene: Scene) -> None:
    await said(scene, "/cast add bramble")
    thread = GENERAL.__class__("discord:7", "aside", "thread", "discord:99", GENERAL.key)
    await scene.say("Bramble, hello", thread)
    await scene.settled()
    assert "Sir Bramble" in scene.client.requests[-1].messages[0].content


async def test_alone_nothing_changes(scene: Scene) -> None:
    await ask(scene, "Sir Bramble, hello", "Aye.")
    assert await speakers(scene) == ["mirela"]
    await scene.say("hello", DIRECT)
    await scene.settled()
    assert scene.prompt()[-1] == ("user", "hello")


async def test_a_scene_keeps_its_dice(scene: Scene) -> None:
    folder = scene.behind.config.paths.personas
    folder.mkdir(parents=True)
    card = '{"name": "Dicer", "description": "{{roll:1000000}} {{isodate}}", "first_mes": "Hi."}'
    (folder / "dicer.json").write_text(card, encoding="utf-8")
    await said(scene, "/persona set dicer")
    await ask(scene, "one", "One.")
    await ask(scene, "two", "Two.")
    first, second = (request.messages[0].content for request in scene.client.requests)
    assert first == second
    await said(scene, "/reset")
    await ask(scene, "three", "Three.")
    assert scene.client.requests[-1].messages[0].content != first
    channel = await scene.behind.turns.channel(GENERAL)
    assert macros_of(channel, 0.0).seed == macros_of(channel, 9.0).seed


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Mirela, are you there?", ["mirela"]),
        ("hey mirela", ["mirela"]),
        ("good morning, Captain Vex!", ["mirela"]),
        ("what now, Sir Bramble?", ["bramble"]),
        ("@maud come here", ["maud"]),
        ("Bramble", ["bramble"]),
        ("I met Mirela yesterday", []),
        ("Mirelas ship", []),
        ("sir, please", []),
        ("沈砚，你好", ["shen-yan"]),
        ("서윤, 안녕", ["seoyun"]),
    ],
)
def test_who_is_called(text: str, ids: list[str]) -> None:
    assert [character.id for character in called(CAST.all(), text)] == ids


def test_who_is_named_in_order() -> None:
    text = "did the Hedgehog tell Pellew what Mirela knows?"
    assert named(CAST.all(), text) == [BRAMBLE, MAUD, MIRELA]


def message(id: int, persona: str | None) -> Message:
    return Message(
        id=id, channel_id=1, role="character" if persona else "user",
        author_key=f"persona:{persona}" if persona else "discord:1", author_name=persona or "Ann",
        content=str(id), created_at=float(id), edited_at=None, reply_to=None, persona=persona,
        adapter=None, sampling=None, answer="none", state="complete", finish_reason=None, place=id,
        unasked=False, post_ids=(),
    )  # fmt: skip


PEOPLE = st.sampled_from([None, "mirela", "bramble", "stranger"])
STAYS = st.lists(
    st.tuples(st.sampled_from(["bramble", "maud"]), st.integers(0, 20), st.integers(0, 20))
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PEOPLE, max_size=20), STAYS, st.sampled_from(["mirela", "bramble", "maud"]))
def test_nothing_passes_to_who_was_not_there(
    said_by: list[str | None], stays: list[tuple[str, int, int]], persona: str
) -> None:
    history = [message(id, who) for id, who in enumerate(said_by, 1)]
    question = message(len(history) + 1, None)
    members = tuple(Member(who, since, max(since, until)) for who, since, until in stays)
    members += (Member("bramble", 0), Member("maud", 5))
    ensemble = Ensemble("mirela", members)
    heard_by = scene_messages(history, question, persona, ensemble)
    lines = [line_of(message, persona) for message in heard_by]
    assert lines[-1].text == question.content
    strangers = [m.id for m in history if m.persona == "stranger"]
    for line in lines[:-1]:
        heard = history[int(line.text) - 1]
        there = persona != "maud" or any(m.persona == "maud" and m.heard(heard.id) for m in members)
        assert there or heard.persona == persona
        assert heard.id > max(strangers, default=0)
        assert line.own == (heard.persona == persona)
