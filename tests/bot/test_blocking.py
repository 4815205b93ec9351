"""The block list: who is on it is not answered, not remembered, not learnt from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from bot.incoming import Place
from config import BotSettings, Config
from tests.bot.conftest import DIRECT, GENERAL, Scene, scene_in
from tests.bot.scripted import words

ANN, BO, ADMIN = "discord:500", "discord:501", "discord:900"
ELSEWHERE = Place("discord:20", "tavern", "guild", "discord:98")


async def said(scene: Scene, line: str, place: Place = GENERAL, author: str = ADMIN) -> str:
    return (await run_line(scene.behind.commands, place, line, author=author)).text


async def remembered(scene: Scene, place: Place = GENERAL) -> list[str]:
    channel = await scene.behind.turns.channel(place)
    history = await scene.behind.database.messages.history(channel, limit=99)
    return [message.content for message in history if message.role == "user"]


async def test_who_is_blocked_is_neither_answered_nor_remembered_there(scene: Scene) -> None:
    await scene.say("from before")
    await scene.settled()
    assert "<@500> is blocked on this server" in await said(scene, "/block add <@500>")
    await scene.say("let me in")
    await scene.say("chatter", addressed=False)
    await scene.say("me?", author_key=BO, author_name="Bo")
    await scene.settled()
    assert await remembered(scene) == ["from before", "me?"]
    assert "let me in" not in str(scene.client.requests[-1].messages)
    await scene.say("elsewhere I may", ELSEWHERE)
    await scene.say("and in private", DIRECT)
    await scene.settled()
    assert len(scene.replies) == 4
    assert "<@500> is answered again." in await said(scene, "/block remove 500")
    await scene.say("thank you")
    await scene.settled()
    assert await remembered(scene) == ["from before", "me?", "thank you"]


async def test_the_configuration_blocks_everywhere(make_config: Callable[..., Config]) -> None:
    async with scene_in(make_config(bot=BotSettings(blocked=[500]))) as scene:
        for place in (GENERAL, ELSEWHERE, DIRECT):
            await scene.say("hello", place)
        await scene.say("hello", author_key=BO)
        await scene.settled()
        assert len(scene.client.requests) == 1
        assert await remembered(scene, DIRECT) == []


async def test_a_question_that_waits_when_its_author_is_blocked_gets_no_reply(
    scene: Scene,
) -> None:
    gate = asyncio.Event()
    scene.client.scripts.append(words("to Bo", gate=gate))
    await scene.say("first", author_key=BO)
    await scene.say("second")
    await said(scene, "/block add 500")
    gate.set()
    await asyncio.wait_for(scene.settled(), 10)
    assert scene.replies == ["to Bo"]
    assert await scene.behind.database.messages.owed(since=0) == []


async def test_new_words_in_an_old_message_are_not_remembered_and_old_ones_no_longer(
    scene: Scene,
) -> None:
    incoming = await scene.say("from before")
    await scene.settled()
    await said(scene, "/block add 500")
    assert incoming.post_id is not None
    changed = scene.made("something foul", post_id=incoming.post_id)
    await scene.behind.turns.edited(changed, time.time())
    assert await remembered(scene) == []


async def test_after_a_restart_it_is_not_read_back(scene: Scene) -> None:
    await scene.say("from before")
    await scene.settled()
    await said(scene, "/block add 500")
    incoming = await scene.say("let me in")
    channel = await scene.behind.turns.channel(GENERAL)
    assert await scene.behind.database.messages.newest_post(channel.id) == incoming.post_id


async def test_the_list(scene: Scene) -> None:
    assert "Nobody is blocked" in await said(scene, "/block list")
    await said(scene, "/block add discord:500")
    assert "blocked already" in await said(scene, "/block add <@!500>")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert await said(scene, "/block list") == f"<@500> since {today}"
    assert "Nobody is blocked" in await said(scene, "/block list", ELSEWHERE)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/block add Ann", "Name the person by a mention or by their id"),
        ("/block add 900", "You cannot block yourself"),
        ("/block remove 500", "<@500> is not blocked on this server."),
        ("/block", "The command is /block list or add USER or remove USER"),
        ("/block add", "The command is /block list or add USER or remove USER"),
    ],
)
async def test_mistakes_are_one_sentence(scene: Scene, line: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence.replace("?", r"\?")):
        await said(scene, line)


async def test_there_is_no_list_without_a_server(scene: Scene) -> None:
    for line in ("/block list", "/block add 500", "/block remove 500"):
        with pytest.raises(CommandError, match=r"no server here; .* bot\.blocked"):
            await said(scene, line, DIRECT)


async def test_being_forgotten_does_not_unblock_and_says_so(scene: Scene) -> None:
    await said(scene, "/block add 500")
    answer = await said(scene, "/privacy forget me", author=ANN)
    assert answer.endswith("I only keep in mind where you are blocked.")
    await scene.say("hello again")
    await scene.settled()
    assert scene.replies == []
