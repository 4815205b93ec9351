"""A reply from its first word to its end, and what a crash or a deletion in between leaves."""

from __future__ import annotations

from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask, begin, texts


async def test_a_reply_streams_and_finishes_with_its_question(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, post_id=1)
    reply = await begin(database, channel, question.id)
    assert (reply.role, reply.state, reply.content) == ("character", "streaming", "")
    assert (reply.author_key, reply.author_name) == ("persona:mirela", "Mirela")
    assert (reply.persona, reply.adapter) == ("mirela", "default")
    assert reply.sampling == {"temperature": 0.5, "stop": ["\n"]}
    assert (reply.reply_to, reply.answer, reply.post_ids) == (question.id, "none", ())

    await database.messages.show(reply.id, "We")
    await database.messages.posted(reply.id, 2, 0)
    shown = await database.messages.by_post(2)
    assert shown is not None
    assert (shown.id, shown.content, shown.state) == (reply.id, "We", "streaming")
    assert await database.messages.owed(since=0) == [question]

    await database.messages.finish_reply(
        reply.id, "Welcome!", finish_reason="length", adapter="default@4"
    )
    done = await database.messages.get(reply.id)
    assert done is not None
    assert (done.content, done.state, done.finish_reason) == ("Welcome!", "complete", "length")
    assert (done.adapter, done.post_ids) == ("default@4", (2,))
    answered = await database.messages.get(question.id)
    assert answered is not None
    assert answered.answer == "answered"
    await database.messages.show(reply.id, "We")  # an edit that comes too late changes nothing
    assert await database.messages.get(reply.id) == done


async def test_an_unfinished_reply_is_taken_up_again(database: Database, channel: Channel) -> None:
    question = await ask(database, channel)
    reply = await begin(database, channel, question.id)
    await database.messages.show(reply.id, "We")
    await database.messages.posted(reply.id, 2, 0)
    again = await database.messages.begin_reply(
        channel.id,
        question=question.id,
        persona="olga",
        persona_name="Olga",
        adapter="base",
        sampling={},
    )
    assert (again.id, again.content, again.post_ids) == (reply.id, "We", (2,))
    assert (again.persona, again.author_name, again.adapter) == ("olga", "Olga", "base")
    await database.messages.finish_reply(again.id, "Hi", finish_reason="stop", adapter="base")
    assert (await begin(database, channel, question.id)).id != reply.id  # asked for once more


async def test_replies_without_a_question_do_not_mix(database: Database, channel: Channel) -> None:
    first = await begin(database, channel, None)
    second = await begin(database, channel, None)
    assert first.id != second.id
    assert first.reply_to is None


async def test_an_abandoned_reply_leaves_the_question_as_it_was(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel)
    reply = await begin(database, channel, question.id)
    await database.messages.abandon_reply(reply.id)
    assert await database.messages.get(reply.id) is None
    assert await database.messages.owed(since=0) == [question]
    done = await answer(database, channel, question.id, "a")
    await database.messages.abandon_reply(done.id)  # what is complete stays
    assert await database.messages.get(done.id) == done


async def test_a_post_can_be_replaced(database: Database, channel: Channel) -> None:
    reply = await begin(database, channel, None)
    await database.messages.posted(reply.id, 11, 0)
    await database.messages.posted(reply.id, 12, 1)
    await database.messages.posted(reply.id, 13, 1)
    await database.messages.posted(reply.id, 13, 1)
    shown = await database.messages.get(reply.id)
    assert shown is not None
    assert shown.post_ids == (11, 13)
    assert await database.messages.by_post(12) is None


async def test_the_question_is_deleted_while_it_is_answered(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, post_id=1)
    reply = await begin(database, channel, question.id)
    await database.messages.delete_post(1)
    await database.messages.posted(reply.id, 2, 0)
    await database.messages.finish_reply(reply.id, "a", finish_reason="stop", adapter="base")
    done = await database.messages.by_post(2)
    assert done is not None
    assert (done.state, done.reply_to) == ("complete", None)


async def test_the_question_is_deleted_before_the_reply_begins(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, post_id=1)
    await database.messages.delete_post(1)
    reply = await begin(database, channel, question.id)
    assert reply.reply_to is None


async def test_the_reply_is_deleted_while_it_streams(database: Database, channel: Channel) -> None:
    question = await ask(database, channel)
    reply = await begin(database, channel, question.id)
    await database.messages.posted(reply.id, 2, 0)
    await database.messages.delete_post(2)
    await database.messages.show(reply.id, "We")
    await database.messages.posted(reply.id, 3, 1)
    await database.messages.finish_reply(reply.id, "a", finish_reason="stop", adapter="base")
    assert await database.messages.get(reply.id) is None
    assert await database.messages.by_post(3) is None
    assert await database.messages.owed(since=0) == []  # not answered once more after a restart


async def test_a_greeting_is_stored_once(database: Database, channel: Channel) -> None:
    greetings = [
        await database.messages.add_said(
            channel.id,
            persona="mirela",
            persona_name="Mirela",
            content="Welcome!",
            created_at=5.0,
            post_id=8,
        )
        for _ in range(2)
    ]
    assert greetings[0] == greetings[1]
    assert greetings[0].post_ids == (8,)
    assert (greetings[0].state, greetings[0].created_at) == ("complete", 5.0)
    assert await database.messages.history(channel, limit=9) == greetings[:1]


async def test_a_question_of_another_channel_is_no_question_here(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    elsewhere = await ask(database, other)
    await ask(database, channel, "here")
    reply = await answer(database, channel, elsewhere.id, "a")
    assert reply.reply_to is None
    assert texts(await database.messages.history(channel, limit=9)) == ["here", "a"]
    assert await database.messages.owed(since=0, channel_id=other.id) == [elsewhere]
