"""Replies written anew, continued, edited and taken back."""

from __future__ import annotations

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from db.messages import Message
from db.rewriting import Standing
from tests.db.conftest import answer, ask, begin


async def replied(database: Database, channel: Channel, text: str = "First.") -> Message:
    question = await ask(database, channel)
    return await answer(database, channel, question.id, text)


async def begin_variant(database: Database, reply: Message, text: str) -> None:
    await database.rewriting.begin_variant(
        reply.id, text, adapter="brass@2", sampling={"seed": 5}, created_at=7.0
    )


async def finish(database: Database, reply: Message, text: str) -> None:
    await database.messages.finish_reply(reply.id, text, finish_reason="stop", adapter="brass@2")


async def test_a_variant_that_streams_is_the_message_and_the_text_before_stays(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    assert await database.rewriting.standing(reply.id) == Standing(1, 1)
    await begin_variant(database, reply, "Sec")
    await database.messages.show(reply.id, "Second")
    streaming = await database.messages.get(reply.id)
    assert streaming is not None
    assert (streaming.content, streaming.state) == ("Second", "streaming")
    assert (streaming.adapter, streaming.sampling) == ("brass@2", {"seed": 5})
    first, _ = await database.feedback.variants(reply.id)
    with pytest.raises(DatabaseError, match="still being written"):
        await database.feedback.choose(first.id)
    await finish(database, reply, "Second.")
    first, second = await database.feedback.variants(reply.id)
    assert (first.content, first.chosen, first.adapter) == ("First.", False, "default@1")
    assert (second.content, second.chosen, second.created_at) == ("Second.", True, 7.0)
    assert await database.rewriting.standing(reply.id) == Standing(2, 2)
    await begin_variant(database, reply, "Third.")
    await finish(database, reply, "Third.")
    await database.feedback.choose(second.id)
    assert await database.rewriting.standing(reply.id) == Standing(2, 3)


async def test_the_votes_stay_with_the_text_that_they_were_for(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    await database.feedback.vote(reply.id, voter_key="a", liked=False, created_at=1.0)
    assert await database.rewriting.vote_of(reply.id, "a") is False
    await begin_variant(database, reply, "Second.")
    assert await database.rewriting.vote_of(reply.id, "a") is None
    first, second = await database.feedback.variants(reply.id)
    [vote] = await database.feedback.votes_cast(channel.id)
    assert vote.variant_id == first.id
    await finish(database, reply, "Second.")
    await database.feedback.choose(first.id)
    assert await database.rewriting.vote_of(reply.id, "a") is False
    assert second.id != first.id


async def test_a_reply_can_grow_again(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    await database.rewriting.reopen(reply.id, "First. And")
    grown = await database.messages.get(reply.id)
    assert grown is not None
    assert (grown.content, grown.state) == ("First. And", "streaming")
    await finish(database, reply, "First. And more.")
    assert await database.feedback.variants(reply.id) == []


async def test_an_edit_needs_a_complete_reply_of_a_character(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    edited = await database.rewriting.amend(reply.id, "Mine.", 50.0)
    assert (edited.content, edited.edited_at) == ("Mine.", 50.0)
    await database.rewriting.reopen(reply.id, "Mine. And")
    question = await ask(database, channel)
    for message_id in (reply.id, question.id, 999):
        with pytest.raises(DatabaseError, match="cannot be edited"):
            await database.rewriting.amend(message_id, "No.", 60.0)


async def test_what_was_broken_off_is_found_and_first_replies_are_not(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    owed = await ask(database, channel)
    await begin(database, channel, owed.id)
    assert await database.rewriting.interrupted(channel.id) == []
    await begin_variant(database, reply, "Half")
    [found] = await database.rewriting.interrupted(channel.id)
    assert (found.id, found.content) == (reply.id, "Half")
    other = await database.channels.seen("discord:2", guild_key=None, name="x", kind="dm")
    assert await database.rewriting.interrupted(other.id) == []


async def test_the_newest_reply_is_of_the_present_scene(
    database: Database, channel: Channel
) -> None:
    assert await database.rewriting.newest_reply(channel) is None
    await replied(database, channel, "One.")
    await replied(database, channel, "Two.")
    await ask(database, channel, "not answered", owed=False)
    newest = await database.rewriting.newest_reply(channel)
    assert newest is not None
    assert newest.content == "Two."
    channel = await database.channels.new_scene(channel.id)
    assert await database.rewriting.newest_reply(channel) is None


async def test_taking_back_deletes_a_characters_message_only(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    await begin_variant(database, reply, "Second.")
    question = await ask(database, channel)
    await database.rewriting.take_back(question.id)
    await database.rewriting.take_back(reply.id)
    assert await database.messages.get(question.id) is not None
    assert await database.messages.get(reply.id) is None
    assert await database.feedback.of_channel(channel.id) == []
    assert (await database.messages.owed(since=0)) == [question]


async def test_the_last_exchanges_with_all_behind_them(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="x", kind="dm")
    await replied(database, other, "Elsewhere.")
    await database.messages.add_said(
        channel.id, persona="p", persona_name="P", content="Greeting.", created_at=1.0
    )
    for text in ("One.", "Two."):
        await ask(database, channel, f"before {text}", owed=False)
        await replied(database, channel, text)
    await ask(database, channel, "after", owed=False)
    assert await database.rewriting.since(channel, 0) == []

    async def contents(count: int) -> list[str]:
        return [message.content for message in await database.rewriting.since(channel, count)]

    assert await contents(1) == ["Hello?", "Two.", "after"]
    assert await contents(2) == ["Hello?", "One.", "before Two.", "Hello?", "Two.", "after"]
    assert await contents(9) == await contents(2)
    gone = await database.rewriting.since(channel, 1)
    await database.rewriting.rewind([message.id for message in gone])
    assert await contents(1) == ["Hello?", "One.", "before Two."]
    channel = await database.channels.new_scene(channel.id)
    assert await database.rewriting.since(channel, 5) == []
