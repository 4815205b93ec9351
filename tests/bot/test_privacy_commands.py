"""`/privacy` as functions and as lines of text."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import Place
from db.channels import Channel
from tests.bot.conftest import DIRECT, GENERAL, Scene
from tests.bot.scripted import until, words

ANN, BO, ADMIN = "discord:500", "discord:501", "discord:900"
THREAD = Place("discord:4", "aside", "thread", "discord:99", parent_key=GENERAL.key)
TERMINAL = Place("terminal:main", "main", "terminal")


async def said(scene: Scene, line: str, place: Place = GENERAL, author: str = ANN) -> str:
    return (await run_line(scene.behind.commands, place, line, author=author)).text


async def trainable(scene: Scene, place: Place) -> bool:
    channel = await scene.behind.turns.channel(place)
    return await scene.behind.database.consent.trainable(channel)


async def vote(scene: Scene, voter: str) -> None:
    """For everything that a character said in GENERAL."""
    database, channel = scene.behind.database, await scene.behind.turns.channel(GENERAL)
    for message in await database.messages.history(channel, limit=99):
        await database.feedback.vote(
            message.id, voter_key=voter, liked=True, created_at=time.time()
        )


async def test_show_counts_what_is_held_of_oneself(scene: Scene) -> None:
    assert (await said(scene, "/privacy show")).startswith("I hold 0 messages and 0 votes of yours")
    await scene.say("one")
    await scene.say("two")
    await scene.say("not mine", author_key=BO)
    await scene.settled()
    await vote(scene, BO)
    assert (await said(scene, "/privacy show")).startswith("I hold 2 messages and 0 votes of yours")
    assert "I hold 1 message and 3 votes" in await said(scene, "/privacy show", author=BO)


async def test_a_server_agrees_and_a_channel_stays_out(scene: Scene) -> None:
    assert "nobody who manages this server has agreed" in await said(scene, "/privacy show")
    assert "may now be used to train" in await said(scene, "/privacy server on", author=ADMIN)
    assert "may be used to train" in await said(scene, "/privacy show")
    assert await trainable(scene, GENERAL)
    assert await trainable(scene, THREAD)
    shown = await said(scene, "/privacy channel off")
    assert shown == (
        "Nothing that is said here is used for training; `/privacy channel inherit` takes that"
        " back."
    )
    assert not await trainable(scene, GENERAL)
    assert not await trainable(scene, THREAD)
    assert await said(scene, "/privacy show", THREAD) == (
        "I hold 0 messages and 0 votes of yours. Nothing that is said here is used for training."
    )
    assert "may be used to train" in await said(scene, "/privacy channel inherit")
    assert await trainable(scene, THREAD)
    assert "any more" in await said(scene, "/privacy server off", author=ADMIN)
    assert "nobody who manages this server" in await said(scene, "/privacy channel on")
    assert not await trainable(scene, GENERAL)


async def test_ones_own_no_wins_until_it_is_taken_back(scene: Scene) -> None:
    await said(scene, "/privacy server on", author=ADMIN)
    assert "nothing of yours is used for training" in await said(scene, "/privacy training off")
    assert "because you opted out" in await said(scene, "/privacy show")
    assert "may be used to train" in await said(scene, "/privacy show", author=BO)
    assert await scene.behind.database.consent.opted_out() == {ANN}
    assert (await said(scene, "/privacy training on")).startswith("Thank you!")
    assert await scene.behind.database.consent.opted_out() == frozenset()


async def test_a_direct_message_is_agreed_to_in_it(scene: Scene) -> None:
    assert "unless you agree to it" in await said(scene, "/privacy show", DIRECT)
    await said(scene, "/privacy training on")  # in a server: not for here
    assert not await trainable(scene, DIRECT)
    assert "may be used to train" in await said(scene, "/privacy training on", DIRECT)
    assert await trainable(scene, DIRECT)
    await said(scene, "/privacy training off")
    await said(scene, "/privacy training on")
    assert not await trainable(scene, DIRECT)
    await said(scene, "/privacy training on", DIRECT)
    await said(scene, "/privacy channel off", DIRECT)
    assert not await trainable(scene, DIRECT)


async def test_the_terminal_agrees_unless_told_otherwise(scene: Scene) -> None:
    assert "may be used to train" in await said(scene, "/privacy show", TERMINAL)
    assert "Nothing that is said here" in await said(scene, "/privacy channel off", TERMINAL)
    assert not await trainable(scene, TERMINAL)


@pytest.mark.parametrize("place", [DIRECT, TERMINAL])
async def test_where_there_is_no_server_nobody_decides_for_one(scene: Scene, place: Place) -> None:
    with pytest.raises(CommandError, match="no server here"):
        await said(scene, "/privacy server on", place)


async def test_the_export_is_a_file_with_all_of_oneself_and_nothing_else(scene: Scene) -> None:
    await scene.say("the goat is called Balthasar 🐐")
    await scene.say("not mine", author_key=BO)
    await scene.settled()
    await vote(scene, ANN)
    answer = await run_line(scene.behind.commands, GENERAL, "/privacy export", author=ANN)
    assert answer.file is not None
    assert not answer.public
    assert answer.file.name.endswith(".json")
    held = json.loads(answer.file.content)
    assert [entry["content"] for entry in held["messages"]] == ["the goat is called Balthasar 🐐"]
    assert len(held["votes"]) == 2
    assert BO not in answer.file.content.decode()
    assert held["consent"]["training"] is None


async def test_forgetting_wants_to_be_confirmed(scene: Scene) -> None:
    await scene.say("a secret")
    await scene.say("not mine", author_key=BO)
    await scene.settled()
    await vote(scene, ANN)
    for line in ("/privacy forget", "/privacy forget everybody"):
        with pytest.raises(CommandError, match=r"1 message and 2 votes .*`/privacy forget me`"):
            await said(scene, line)
    assert await said(scene, "/privacy forget me") == (
        "It is gone: I deleted 1 message and 2 votes of yours."
    )
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=9)
    assert [message.role for message in history] == ["character", "user", "character"]
    assert (await said(scene, "/privacy show")).startswith("I hold 0 messages and 0 votes")
    assert (await said(scene, "/privacy forget me")).startswith("It is gone: I deleted 0 messages")


async def test_who_opted_out_stays_so_when_forgotten(scene: Scene) -> None:
    await scene.say("a secret")
    await scene.settled()
    await said(scene, "/privacy training off")
    answer = await said(scene, "/privacy forget me")
    assert answer.endswith("I only keep in mind that nothing of yours may be used for training.")
    assert "because you opted out" in await said(scene, "/privacy show")


async def test_a_reply_to_who_is_forgotten_ends(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.client.scripts.append(words("a good begin and never", gate=gate, gate_at=3))
    await scene.say("a secret")
    await scene.say("another secret")
    await until(lambda: scene.stage.shown.updates)
    await said(scene, "/privacy forget me")
    await asyncio.wait_for(scene.settled(), 5)
    assert len(scene.client.cancelled) == 1
    assert len(scene.client.requests) == 1  # the second question is not answered any more
    assert await scene.behind.database.messages.owed(since=0) == []


async def test_a_reply_to_somebody_else_goes_on(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.client.scripts.append(words("a good begin and end", gate=gate, gate_at=3))
    await scene.say("a question", author_key=BO)
    await until(lambda: scene.stage.shown.updates)
    await said(scene, "/privacy forget me")
    gate.set()
    await scene.settled()
    assert scene.replies == ["a good begin and end"]


async def test_the_typed_lines_of_a_terminal_are_forgotten_too(scene: Scene) -> None:
    typed = scene.behind.config.paths.data / "terminal_history"
    typed.write_text("+a secret\n", encoding="utf-8")
    await said(scene, "/privacy forget me")  # by somebody on Discord
    assert typed.exists()
    await run_line(scene.behind.commands, TERMINAL, "/privacy forget me")
    assert not typed.exists()
    typed.mkdir()
    with pytest.raises(CommandError, match=r"is deleted, but .*terminal_history is not"):
        await run_line(scene.behind.commands, TERMINAL, "/privacy forget me")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/privacy training", "/privacy training takes on or off."),
        ("/privacy training maybe", "/privacy training takes on or off."),
        ("/privacy server inherit", "/privacy server takes on or off."),
        ("/privacy channel", "/privacy channel takes on, off or inherit."),
    ],
)
async def test_wrong_words(scene: Scene, line: str, sentence: str) -> None:
    with pytest.raises(CommandError) as told:
        await said(scene, line)
    assert str(told.value) == sentence


@pytest.mark.parametrize(
    "line", ["/privacy", "/privacy show me", "/privacy hide", "/privacy a b c"]
)
async def test_lines_that_are_no_command(scene: Scene, line: str) -> None:
    with pytest.raises(CommandError, match="The command is /privacy show or export or forget me"):
        await said(scene, line)


async def test_a_known_thread_learns_of_its_channel(scene: Scene) -> None:
    """As one from before its channel was noted does, when it is next heard of."""
    old: Channel = await scene.behind.database.channels.seen(
        THREAD.key, guild_key=THREAD.guild_key, name=THREAD.name, kind="thread"
    )
    assert old.parent_key is None
    assert (await scene.behind.turns.channel(THREAD)).parent_key == GENERAL.key
