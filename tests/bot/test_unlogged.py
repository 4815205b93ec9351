"""What is said without being logged: answered, known while the talk lasts, and nowhere kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import TERMINAL_AUTHOR, Place
from bot.memory import Recollection
from bot.retention import Retention
from bot.stage import ReplyRecord
from bot.terminal import Conversation
from config import Config, LimitSettings, LogSettings, PrivacySettings
from db.channels import Channel
from tests.bot.conftest import DIRECT, GENERAL, MARKET, Scene, scene_in
from tests.bot.scripted import until, words

ANN, BO = "discord:500", "discord:501"
SECRET = "the-goat-is-called-Balthasar"
THREAD = Place("discord:4", "aside", "thread", "discord:99", parent_key=GENERAL.key)
ELSEWHERE = Place("discord:20", "tavern", "guild", "discord:98")


async def said(scene: Scene, line: str, place: Place = GENERAL, author: str = ANN) -> str:
    return (await run_line(scene.behind.commands, place, line, author=author)).text


async def stored(scene: Scene, place: Place = GENERAL) -> list[str]:
    """Everything that is kept of a place, replies included."""
    channel = await scene.behind.turns.channel(place)
    history = await scene.behind.database.messages.history(channel, limit=99)
    return [message.content for message in history]


def spoken(scene: Scene) -> list[tuple[str, str]]:
    """The newest prompt without the greeting that opens it."""
    (role, greeting), *lines = scene.prompt()
    assert role == "assistant"
    assert greeting.startswith("Welcome aboard")
    return lines


def on_disk(config: Config) -> bytes:
    """All bytes of the database and its log."""
    file = config.database_file
    return b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))


async def ask(scene: Scene, content: str, place: Place = GENERAL, **more: object) -> None:
    await scene.say(content, place, **more)
    await scene.settled()
    await scene.behind.turns.keeper.idle()


async def test_it_is_answered_and_nothing_is_on_the_disk(scene: Scene) -> None:
    told = await said(scene, "/privacy logging off")
    assert told == (
        "What you say here is not logged, because you opted out: it is answered, known while the"
        " talk lasts, and gone after 30 minutes of silence. What I hold from before stays;"
        " `/privacy forget me` deletes what is yours."
    )
    await ask(scene, f"I am a baker. {SECRET}")
    assert scene.replies == [f"You said: Ann: I am a baker. {SECRET}"]
    assert await stored(scene) == []
    assert SECRET.encode() not in on_disk(scene.behind.config)
    channel = await scene.behind.turns.channel(GENERAL)
    assert await scene.behind.database.facts.of(channel, "mirela") == []
    assert "0 messages" in await said(scene, "/privacy show")


async def test_a_talk_goes_on_and_others_of_the_channel_are_kept(scene: Scene) -> None:
    await ask(scene, "Good morning.", author_key=BO, author_name="Bo")
    await said(scene, "/privacy logging off")
    await ask(scene, "I am in the kitchen.")
    await ask(scene, "Where am I?")
    assert spoken(scene) == [
        ("user", "Bo: Good morning."),
        ("assistant", "You said: Bo: Good morning."),
        ("user", "Ann: I am in the kitchen."),
        ("assistant", "You said: Ann: I am in the kitchen."),
        ("user", "Ann: Where am I?"),
    ]
    await ask(scene, "Who is there?", author_key=BO, author_name="Bo")
    assert ("user", "Ann: I am in the kitchen.") in spoken(scene)
    assert await stored(scene) == [
        "Good morning.",
        "You said: Bo: Good morning.",
        "Who is there?",
        "You said: Bo: Who is there?",
    ]
    await ask(scene, "And in the market?", MARKET)
    assert spoken(scene) == [("user", "Ann: And in the market?")]


async def test_what_is_said_to_nobody_is_not_even_known(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    incoming = await scene.say("chatter", addressed=False)
    await ask(scene, "Hello.")
    assert spoken(scene) == [("user", "Ann: Hello.")]
    channel = await scene.behind.turns.channel(GENERAL)
    newest = await scene.behind.database.messages.newest_post(channel.id)
    assert newest is not None
    assert incoming.post_id is not None
    assert newest >= incoming.post_id  # a restart does not read it back


@pytest.mark.parametrize(
    ("line", "place", "other"),
    [
        ("/privacy logging off channel", GENERAL, MARKET),
        ("/privacy logging off channel", DIRECT, GENERAL),
        ("/privacy logging off server", MARKET, ELSEWHERE),
    ],
)
async def test_a_channel_or_a_server_opts_out_for_all(
    scene: Scene, line: str, place: Place, other: Place
) -> None:
    told = await said(scene, line, place, BO)
    assert f"because this {line.split()[-1]} opted out" in told
    await ask(scene, "Hello.", place)
    await ask(scene, "Hello there.", other)
    assert await stored(scene, place) == []
    assert await stored(scene, other) == ["Hello there.", "You said: Ann: Hello there."]


async def test_a_thread_follows_its_channel_and_cannot_take_it_back(scene: Scene) -> None:
    await said(scene, "/privacy logging off channel")
    told = await said(scene, "/privacy logging on channel", THREAD)
    assert told.startswith("Noted; but still: What you say here is not logged, because this chan")
    await ask(scene, "Hello.", THREAD)
    assert await stored(scene, THREAD) == []
    assert "not logged" in await said(scene, "/privacy show", THREAD)
    assert await said(scene, "/privacy logging on channel") == "What you say here is remembered."
    await ask(scene, "Hello.", THREAD)
    assert await stored(scene, THREAD) == ["Hello.", "You said: Ann: Hello."]


async def test_a_talk_is_forgotten_after_a_silence(scene: Scene) -> None:
    now = time.time()
    scene.behind.turns.passing._clock = lambda: now
    await said(scene, "/privacy logging off")
    await ask(scene, "I am in the kitchen.")
    now += 29 * 60
    await ask(scene, "And now?")
    assert len(spoken(scene)) == 3
    now += 31 * 60
    retention = Retention(scene.behind.config, scene.behind.database, scene.behind.turns)
    retention.forget_passed()
    channel = await scene.behind.turns.channel(GENERAL)
    assert scene.behind.turns.memory.last(channel, "mirela") is None  # nor does `why` know it
    await ask(scene, "Where am I?")
    assert spoken(scene) == [("user", "Ann: Where am I?")]


@pytest.mark.parametrize("line", ["/reset", "/persona set bramble", "/cast add bramble"])
async def test_another_scene_or_cast_knows_nothing_of_it(scene: Scene, line: str) -> None:
    await said(scene, "/privacy logging off")
    await ask(scene, "I am in the kitchen.")
    await said(scene, line)
    await ask(scene, "Where am I?")
    assert "kitchen" not in str(scene.client.requests[-1].messages)


async def test_a_restart_forgets_what_is_answered_and_answers_what_is_owed(config: Config) -> None:
    async with scene_in(config) as scene:
        await said(scene, "/privacy logging off")
        await ask(scene, "I am in the kitchen.")
        gate = asyncio.Event()
        scene.client.scripts.append(words("never comes", gate=gate))
        await scene.say("Where am I?")
        await until(lambda: len(scene.client.requests) == 2)
    async with scene_in(config) as again:
        channel = await again.behind.turns.channel(GENERAL)
        assert await again.behind.turns.resume([channel]) == 1
        await again.settled()
        assert spoken(again) == [("user", "Ann: Where am I?")]
        assert again.replies == ["You said: Ann: Where am I?"]
        assert await stored(again) == []


async def test_what_a_crash_left_behind_goes_at_the_next_start(config: Config) -> None:
    async with scene_in(config) as scene:
        database = scene.behind.database
        channel = await scene.behind.turns.channel(GENERAL)
        async with database.transaction():
            message = await database.messages.add_user(
                channel.id,
                author_key=ANN,
                author_name="Ann",
                content=SECRET,
                created_at=time.time(),
                owed=False,
            )
            await database.unlogged.mark(message.id)
    async with scene_in(config) as again:
        assert await stored(again) == []
        assert SECRET.encode() not in on_disk(config)


async def test_an_edit_and_a_deletion_are_followed(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    first = await scene.say("I am in the kitchen.")
    second = await scene.say("I am tired.")
    await scene.settled()
    await scene.behind.turns.edited(replace(first, content="I am in the attic."), time.time())
    assert second.post_id is not None
    await scene.behind.turns.deleted(GENERAL.key, second.post_id)
    await ask(scene, "Where am I?")
    assert ("user", "Ann: I am in the attic.") in spoken(scene)
    assert ("user", "Ann: I am in the kitchen.") not in spoken(scene)
    assert ("user", "Ann: I am tired.") not in spoken(scene)


async def test_new_words_in_an_old_message_take_it_out_of_the_memory(scene: Scene) -> None:
    old = await scene.say("Hello.")
    await scene.settled()
    await said(scene, "/privacy logging off")
    await scene.behind.turns.edited(replace(old, content=SECRET), time.time())
    assert await stored(scene) == ["You said: Ann: Hello."]
    assert SECRET.encode() not in on_disk(scene.behind.config)


async def test_being_forgotten_reaches_what_only_passes(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    await ask(scene, "I am in the kitchen.")
    answer = await said(scene, "/privacy forget me")
    assert answer.endswith("I only keep in mind that nothing of yours is to be logged.")
    await ask(scene, "Where am I?")
    assert spoken(scene) == [("user", "Ann: Where am I?")]
    assert await stored(scene) == []


async def test_words_put_into_a_characters_mouth_pass_too(scene: Scene) -> None:
    await said(scene, "/privacy logging off channel")
    await said(scene, f"/say {SECRET}")
    await ask(scene, "What was that?")
    assert ("assistant", SECRET) in scene.prompt()
    assert await stored(scene) == []


async def test_words_put_into_a_characters_mouth_never_reach_the_index(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, say = scene.behind.database, scene.stage.say

    async def slowly(channel: Channel, record: ReplyRecord, text: str) -> None:
        assert record.passes  # so it gets no buttons
        await say(channel, record, text)
        await database.recall.catch_up()  # another channel's reply is complete

    monkeypatch.setattr(scene.stage, "say", slowly)
    await said(scene, "/privacy logging off")
    await said(scene, "/say Balthasar")
    assert b"balthasar" not in on_disk(scene.behind.config).lower()


async def test_a_post_that_is_told_of_twice_is_answered_once(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    incoming = await scene.say("Hello.")
    await scene.settled()
    assert await scene.behind.turns.hear(incoming) is None
    await scene.settled()
    assert len(scene.replies) == 1


async def test_an_opt_out_does_not_touch_what_is_told_of_once_more(scene: Scene) -> None:
    incoming = await scene.say("Hello.")
    await scene.settled()
    await said(scene, "/privacy logging off")
    await scene.behind.turns.hear(incoming)
    await scene.settled()
    assert await stored(scene) == ["Hello.", "You said: Ann: Hello."]


async def test_a_question_deleted_before_the_model_is_asked_gets_no_reply(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = scene.behind.turns
    prompt = turns.memory.prompt
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: object, **more: object) -> Recollection:
        made = await prompt(*arguments, **more)  # type: ignore[arg-type]
        reached.set()
        await go_on.wait()
        return made

    monkeypatch.setattr(turns.memory, "prompt", slowly)
    await said(scene, "/privacy logging off")
    asked = await scene.say(SECRET)
    await reached.wait()
    assert asked.post_id is not None
    await turns.deleted(GENERAL.key, asked.post_id)
    go_on.set()
    await scene.settled()
    assert scene.client.requests == []
    assert await stored(scene) == []


async def test_other_channels_do_not_hide_that_a_talk_is_over(scene: Scene) -> None:
    now = time.time()
    scene.behind.turns.passing._clock = lambda: now
    await said(scene, "/privacy logging off")
    await ask(scene, "I am in the kitchen.")
    now += 31 * 60
    await ask(scene, "Hello.", MARKET)  # looks up what is known in passing, too
    retention = Retention(scene.behind.config, scene.behind.database, scene.behind.turns)
    retention.forget_passed()
    channel = await scene.behind.turns.channel(GENERAL)
    assert scene.behind.turns.memory.last(channel, "mirela") is None


async def test_a_refusal_is_told_and_keeps_nothing(make_config: Callable[..., Config]) -> None:
    config = make_config(limits=LimitSettings(replies_per_minute=1))
    async with scene_in(config) as scene:
        await said(scene, "/privacy logging off")
        await ask(scene, "One.")
        await ask(scene, "Two.")
        assert len(scene.replies) == len(scene.notices) == 1
        assert await stored(scene) == []


async def test_a_question_that_nobody_may_answer_any_more_is_not_kept_either(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    gate = asyncio.Event()
    scene.client.scripts.append(words("to Bo", gate=gate))
    await scene.say("Hello.", author_key=BO, author_name="Bo")
    await scene.say(SECRET)
    await said(scene, "/block add 500", author=BO)
    gate.set()
    await scene.settled()
    assert await stored(scene) == ["Hello.", "to Bo"]
    assert SECRET.encode() not in on_disk(scene.behind.config)


async def test_no_log_line_holds_it(
    make_config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "bot")
    async with scene_in(make_config(log=LogSettings(messages=True))) as scene:
        await ask(scene, "A word that is logged.")
        await said(scene, "/privacy logging off")
        await ask(scene, SECRET)
    lines = [str(vars(record)) + record.getMessage() for record in caplog.records]
    assert any("A word that is logged." in line for line in lines)
    assert not any(SECRET in line for line in lines)


async def test_a_reply_of_which_nothing_is_kept_cannot_be_changed(scene: Scene) -> None:
    await said(scene, "/privacy logging off")
    await ask(scene, "Hello.")
    with pytest.raises(CommandError, match="No character has said anything here yet"):
        await said(scene, "/regenerate")


async def test_the_setting_is_named(make_config: Callable[..., Config]) -> None:
    async with scene_in(make_config(privacy=PrivacySettings(unlogged_minutes=5))) as scene:
        assert "after 5 minutes of silence" in await said(scene, "/privacy logging off")


@pytest.mark.parametrize(
    ("line", "place", "sentence"),
    [
        ("/privacy logging", GENERAL, "The command is "),
        ("/privacy logging maybe", GENERAL, "/privacy logging takes on or off."),
        ("/privacy logging off everywhere", GENERAL, "takes channel, server or nothing."),
        ("/privacy logging off server", DIRECT, "There is no server here"),
    ],
)
async def test_mistakes_are_one_sentence(
    scene: Scene, line: str, place: Place, sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        await said(scene, line, place)


async def test_the_prompt_of_a_terminal_stops_writing_down_what_is_typed(scene: Scene) -> None:
    typed = scene.behind.config.paths.data / "terminal_history"
    typed.write_text("+a secret\n", encoding="utf-8")
    conversation = Conversation(scene.behind, "main", "Ann")
    assert await conversation.logged()
    await conversation.take("/privacy logging off", live=True)
    assert not typed.exists()
    assert not await conversation.logged()
    await conversation.take("hello", live=True)
    assert await stored(scene, conversation.place) == []
    assert not await scene.behind.database.unlogged.logs_author(TERMINAL_AUTHOR)
