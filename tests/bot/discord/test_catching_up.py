"""After a stop, a kill or a lost session: nothing is missing, nothing is answered twice."""

from __future__ import annotations

import asyncio

import pytest

from bot.stage import ReplyRecord
from tests.bot.discord.conftest import Town
from tests.bot.scripted import Script, words

LONG = " ".join(f"word{number}" for number in range(500))  # two posts


async def test_missed_messages_are_remembered_and_those_to_the_bot_answered(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("hello"))
        await running.settled()
    chatter = await town.alice.say(town.general, "anybody here?")
    asked = await town.ask("are you there?")
    async with town.bot() as running:
        await town.reply_to(asked)
        await running.settled()
        remembered = [content for _, content in await running.remembered(town.general)]
        assert remembered[2:] == [
            chatter.content,
            "are you there?",
            "You said: Alice: are you there?",
        ]
    async with town.bot() as running:
        await town.reply_to(await town.ask("again"))
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 3


async def test_missed_direct_messages_are_answered(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.alice.say(town.alice.dm(), "hello"))
        await running.settled()
    asked = await town.alice.say(town.alice.dm(), "still there?")
    async with town.bot():
        await town.reply_to(asked)


async def test_a_reply_broken_off_goes_on_in_its_own_post(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(words("half a reply", gate=asyncio.Event(), gate_at=2))
        asked = await town.ask("hello")
        broken = await town.reply_to(asked)
        assert broken.content == "half a"
    async with town.bot() as running:
        await town.general.wait_content(broken, "You said: Alice: hello")
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 1
        assert [role for role, _ in await running.remembered(town.general)] == ["user", "character"]


async def test_a_reply_broken_off_before_its_first_word_is_given(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(words("never", gate=asyncio.Event()))
        asked = await town.ask("hello")
        await town.general.wait_typing()
    async with town.bot():
        await town.reply_to(asked)


@pytest.mark.parametrize("posts", [1, 2])
async def test_a_post_that_was_sent_but_not_stored_is_taken_over(
    town: Town, monkeypatch: pytest.MonkeyPatch, posts: int
) -> None:
    """As if killed between Discord's answer and the memory."""
    posted = ReplyRecord.posted

    async def never(self: ReplyRecord, post_id: int) -> None:
        if len(self.posts) == posts - 1:
            await asyncio.Event().wait()
        await posted(self, post_id)

    async with town.bot() as running:
        monkeypatch.setattr(ReplyRecord, "posted", never)
        running.client.scripts.append(Script([LONG]))
        await town.ask("hello")
        await town.general.wait_until(
            lambda: len(town.general.by(town.server.bot_user)) == posts, what="all posts"
        )
        # What people say before the restart must not hide the post.
        await town.alice.say(town.general, "hm")
        await asyncio.sleep(0)
    monkeypatch.setattr(ReplyRecord, "posted", posted)
    async with town.bot() as running:
        running.client.scripts.append(Script([LONG.replace("word", "term")]))
        await town.general.wait_until(
            lambda: "term499" in town.general.by(town.server.bot_user)[-1].content, what="the end"
        )
        await running.settled()
        shown = town.general.by(town.server.bot_user)
        assert len(shown) == 2
        assert " ".join(post.content for post in shown) == LONG.replace("word", "term")
        roles = [role for role, _ in await running.remembered(town.general)]
        assert sorted(roles) == ["character", "user", "user"]


async def test_a_shorter_second_attempt_removes_the_surplus_post(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(
            Script([LONG, " and", " more"], gate=asyncio.Event(), gate_at=1)
        )
        await town.ask("hello")
        await town.general.wait_until(
            lambda: len(town.general.by(town.server.bot_user)) == 2, what="two posts"
        )
        await town.general.wait_until(lambda: True)
    async with town.bot() as running:
        await running.settled()
        await town.general.wait_until(
            lambda: len(town.general.by(town.server.bot_user)) == 1, what="one post"
        )
        await running.settled()
        assert len(await running.remembered(town.general)) == 2


async def test_a_question_deleted_while_away_is_not_answered(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(words("never", gate=asyncio.Event()))
        asked = await town.ask("hello")
        await town.general.wait_typing()
    await town.alice.delete(asked)
    async with town.bot() as running:
        await town.reply_to(await town.ask("and this?"))
        await running.settled()
        assert len(running.client.requests) == 1
        assert "hello" not in [content for _, content in await running.remembered(town.general)]


async def test_a_question_edited_while_away_is_answered_as_it_is_now(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(words("never", gate=asyncio.Event()))
        asked = await town.ask("hello")
        await town.general.wait_typing()
    await town.alice.edit(asked, f"{town.me} good evening")
    async with town.bot():
        assert (await town.reply_to(asked)).content == "You said: Alice: good evening"


async def test_what_was_forgotten_is_not_heard_again(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("my address is …"))
        await running.settled()
        await running.behind.database.privacy.forget_author(f"discord:{town.alice.id}")
    async with town.bot() as running:
        await town.reply_to(await town.ask("hello", town.market))
        await running.settled()
        remembered = [content for _, content in await running.remembered(town.general)]
        assert "my address is …" not in remembered


async def test_a_lost_session_is_caught_up_with(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("hello"))
        await running.settled()
        town.server.forget_sessions()
        identified = town.server.identifies
        async with town.server.outage():
            asked = await town.ask("did you hear that?")
        await town.server.wait_identified(identified + 1)
        await town.reply_to(asked)
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 2


async def test_a_resumed_session_hears_everything_once(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("hello"))
        await town.server.reconnect_all()
        asked = await town.ask("and now?")
        await town.reply_to(asked)
        await town.server.wait_resumed()
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 2


async def test_a_channel_that_is_gone_hurts_no_other(town: Town) -> None:
    async with town.bot() as running:
        running.client.scripts.append(words("never", gate=asyncio.Event()))
        await town.ask("hello", town.market)
        await town.market.wait_typing()
        await town.reply_to(await town.ask("hello"))
        await running.settled_in(town.general)
    town.market.delete()
    asked = await town.ask("still there?")
    async with town.bot() as running:
        await town.reply_to(asked)
        await running.settled()
        assert not await running.behind.database.messages.owed(since=0)


async def test_in_the_order_they_were_said(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("zero"))
        await running.settled()
    for text in ("one", "two"):
        await town.ask(text)
    async with town.bot() as running:
        last = await town.ask("three")
        await town.reply_to(last)
        await running.settled()
        asked = [r.messages[-1].content.splitlines()[-1] for r in running.client.requests]
        assert asked == ["Alice: one", "Alice: two", "Alice: three"]


async def test_an_age_restricted_channel_and_its_thread_stay_what_they_are(town: Town) -> None:
    tavern = town.guild.add_channel("tavern", nsfw=True)
    async with town.bot() as running:
        thread = await town.alice.start_thread(tavern, "Aside")
        for where in (tavern, thread):
            await town.ask("hello", where)
            await where.wait_message(by=town.server.bot_user)
        await running.settled()
    missed = [await town.ask("are you there?", where) for where in (tavern, thread)]
    async with town.bot() as running:
        for asked in missed:
            await town.reply_to(asked)
        await running.settled()
        channels = running.behind.database.channels
        above, below = [await channels.get(f"discord:{where.id}") for where in (tavern, thread)]
        assert above is not None
        assert below is not None
        assert above.age_restricted
        assert below.age_restricted
        assert below.parent_key == above.key
