"""How replies appear in Discord: typing, edits, splitting, and what is done when it objects."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.bot.discord.conftest import Town
from tests.bot.scripted import Script, words
from tests.discord_standin import Message

MESSAGES = "/channels/{id}/messages"
MESSAGE = "/channels/{id}/messages/{id}"


async def test_typing_is_shown_before_the_reply(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        running.client.scripts.append(words("hello there", gate=gate))
        asked = await town.ask("hi")
        await town.general.wait_typing()
        assert town.general.by(town.server.bot_user) == []
        gate.set()
        await town.reply_to(asked)


async def test_a_short_reply_is_one_post_without_edits(town: Town) -> None:
    async with town.bot() as running:
        reply = await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert reply.edits == []


async def test_a_streaming_reply_is_edited_at_most_once_a_second(town: Town) -> None:
    text = " ".join(f"word{number}" for number in range(36))
    async with town.bot() as running:
        running.client.scripts.append(words(text, pause=0.1))
        reply = await town.reply_to(await town.ask("hi"))
        await running.settled()
    assert reply.content == text
    assert len(reply.edits) >= 2
    times = [revision.at for revision in reply.history]
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(times))
    assert all(text.startswith(revision.content) for revision in reply.history)


async def test_a_long_reply_is_split_between_words(town: Town) -> None:
    text = " ".join(f"word{number}" for number in range(700))
    async with town.bot() as running:
        running.client.scripts.append(Script([text]))
        asked = await town.ask("hi")
        await town.reply_to(asked)
        await running.settled()
        posts = town.general.by(town.server.bot_user)
        assert " ".join(post.content for post in posts) == text
        assert [post.reply_to is not None for post in posts] == [True] + [False] * (len(posts) - 1)
        assert (await running.remembered(town.general))[-1] == ("character", text)
        # A reply to any of its posts is a reply to the character.
        again = await town.alice.say(town.general, "what?", reply_to=posts[-1], ping=False)
        await town.reply_to(again)


async def test_one_character_more_than_a_post_takes_makes_a_second_one(town: Town) -> None:
    text = f"{'one ' * 500}t"
    assert len(text) == 2001
    async with town.bot() as running:
        running.client.scripts.append(Script([text]))
        await town.reply_to(await town.ask("hi"))
        await running.settled()
        posts = [post.content for post in town.general.by(town.server.bot_user)]
        assert len(posts) == 2
        assert max(map(len, posts)) <= 2000
        assert " ".join(posts).split() == text.split()
        assert (await running.remembered(town.general))[-1] == ("character", text)


async def test_a_reply_is_stored_before_it_is_shown(town: Town) -> None:
    stored: list[str] = []
    async with town.bot() as running:
        running.client.scripts.append(words("one two three", gate=asyncio.Event(), gate_at=2))
        await town.ask("hi")
        reply = await town.general.wait_message(by=town.server.bot_user)
        stored = [content for _, content in await running.remembered(town.general)]
        assert reply.content == "one two"
        assert stored[-1] == "one two"
        await running.behind.turns.close()


async def test_rate_limits_are_waited_for(town: Town) -> None:
    async with town.bot() as running:
        limit = town.server.faults.rate_limit("POST", MESSAGES, retry_after=0.3)
        reply = await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert limit.hits == 1
        assert reply.content == "You said: Alice: hi"
        assert len(town.general.by(town.server.bot_user)) == 1


async def test_server_errors_are_tried_again(town: Town) -> None:
    async with town.bot() as running:
        failure = town.server.faults.fail("POST", MESSAGES, status=503)
        await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert failure.hits == 1
        assert len(town.general.by(town.server.bot_user)) == 1


async def test_a_post_whose_answer_was_lost_is_not_made_twice(town: Town) -> None:
    async with town.bot() as running:
        lost = town.server.faults.drop_before_response("POST", MESSAGES)
        await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert lost.hits == 1
        assert len(town.general.by(town.server.bot_user)) == 1
        assert len(await running.remembered(town.general)) == 2


async def test_edits_that_fail_do_not_lose_the_end(town: Town) -> None:
    text = "a reply that goes on for a while"
    async with town.bot() as running:
        failure = town.server.faults.fail("PATCH", MESSAGE, status=503, times=2)
        running.client.scripts.append(words(text, pause=0.35))
        reply = await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert failure.hits == 2
        assert reply.content == text


async def test_a_reply_deleted_in_mid_stream_is_given_up(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        running.client.scripts.append(words("half a reply", gate=gate, gate_at=2))
        await town.ask("one")
        reply = await town.general.wait_message(by=town.server.bot_user)
        await town.server.owner.delete(reply)
        await running.settled()
        gate.set()
        await town.reply_to(await town.ask("two"))
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 1
        assert [content for _, content in await running.remembered(town.general)] == [
            "one",
            "two",
            "You said: Alice: two",
        ]


async def test_a_channel_where_it_may_not_speak_does_not_hurt_others(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.general.deny_bot("send_messages")
    async with town.bot() as running:
        await town.ask("hi")
        await town.reply_to(await town.ask("hi", town.market))
        await running.settled()
    assert "cannot be shown" in caplog.text


async def test_without_message_history_it_answers_without_reference(town: Town) -> None:
    town.general.deny_bot("read_message_history")
    async with town.bot():
        await town.ask("hi")
        await town.general.wait_message(by=town.server.bot_user)


async def test_a_failure_is_told_in_small_print_and_not_remembered(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(Script([], finish="error", error="The model has ended."))
        reply = await town.reply_to(await town.ask("hi"))
        await running.settled()
        assert reply.content == "-# The model has ended."
        assert await running.remembered(town.general) == [("user", "hi")]


async def test_a_code_block_is_closed_and_opened_again(town: Town) -> None:
    code = "\n".join(f"value_{number} = {number}" for number in range(200))
    async with town.bot() as running:
        running.client.scripts.append(Script([f"Here:\n```py\n{code}\n```"]))
        await town.reply_to(await town.ask("hi"))
        await running.settled()
        posts: list[Message] = town.general.by(town.server.bot_user)
    assert len(posts) == 2
    assert posts[0].content.endswith("\n```")
    assert posts[1].content.startswith("```py\n")
