"""What people say: stored once, followed through edits and deletions, read back in order."""

from __future__ import annotations

import pytest

from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask, begin, texts


async def test_every_field_comes_back(database: Database, channel: Channel) -> None:
    first = await ask(database, channel, post_id=500)
    said = await database.messages.add_user(
        channel.id,
        author_key="discord:7",
        author_name="Ann",
        content="And you?",
        created_at=1234.5,
        post_id=501,
        reply_to=first.id,
        owed=False,
    )
    assert said == await database.messages.get(said.id)
    assert said == await database.messages.by_post(501)
    assert said.id > first.id
    assert (said.channel_id, said.role, said.author_key) == (channel.id, "user", "discord:7")
    assert (said.author_name, said.content, said.created_at) == ("Ann", "And you?", 1234.5)
    assert (said.reply_to, said.post_ids, said.edited_at) == (first.id, (501,), None)
    assert (said.answer, said.state, said.finish_reason) == ("none", "complete", None)
    assert (said.persona, said.adapter, said.sampling) == (None, None, None)
    assert first.answer == "owed"


async def test_the_same_post_is_stored_once(database: Database, channel: Channel) -> None:
    first = await ask(database, channel, "first", post_id=5)
    await database.messages.set_answer(first.id, "answered")
    again = await ask(database, channel, "second", post_id=5)
    assert (again.id, again.content, again.answer) == (first.id, "first", "answered")
    assert await database.messages.count(channel.id) == 1


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("lone \ud83d surrogates \udc00", "lone \ufffd surrogates \ufffd"),
        ("a\0b\0", "a\0b\0"),
        ("", ""),
        ("가나다 你好 👩‍👩‍👧 \u202e", "가나다 你好 👩‍👩‍👧 \u202e"),
        ("x" * 4000, "x" * 4000),
        ("'; DROP TABLE messages; --", "'; DROP TABLE messages; --"),
    ],
)
async def test_any_text_is_stored(
    database: Database, channel: Channel, text: str, stored: str
) -> None:
    said = await database.messages.add_user(
        channel.id,
        author_key=text,
        author_name=text,
        content=text,
        created_at=1,
        post_id=1,
        owed=False,
    )
    assert (said.author_key, said.author_name, said.content) == (stored, stored, stored)
    edited = await database.messages.edit(1, text + "!", 2)
    assert edited is not None
    assert edited.content == stored + "!"
    exported = (await database.privacy.export_author(text))["messages"]
    assert isinstance(exported, list)
    assert [entry["content"] for entry in exported] == [stored + "!"]
    reply = await begin(database, channel, said.id)
    await database.messages.show(reply.id, text)
    await database.messages.finish_reply(reply.id, text, finish_reason="stop", adapter=text)
    assert texts(await database.messages.history(channel, limit=1)) == [stored]
    named = await database.channels.seen(f"x:{text}", guild_key=text, name=text, kind="dm")
    assert named == await database.channels.get(f"x:{text}")


async def test_a_reference_to_another_channel_or_to_nothing_is_left_out(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    elsewhere = await ask(database, other)
    assert (await ask(database, channel, reply_to=elsewhere.id)).reply_to is None
    assert (await ask(database, channel, reply_to=12345)).reply_to is None


async def test_edits_are_followed_and_late_ones_ignored(
    database: Database, channel: Channel
) -> None:
    said = await ask(database, channel, "one", post_id=5)
    edited = await database.messages.edit(5, "three", 2003.0)
    assert edited is not None
    assert (edited.id, edited.content, edited.edited_at) == (said.id, "three", 2003.0)
    late = await database.messages.edit(5, "two", 2002.0)
    assert late == edited
    assert await database.messages.edit(6, "nothing", 2004.0) is None


async def test_edits_of_the_characters_own_posts_are_not_the_users(
    database: Database, channel: Channel
) -> None:
    said = await database.messages.add_said(
        channel.id,
        persona="mirela",
        persona_name="Mirela",
        content="Welcome!",
        created_at=1,
        post_id=9,
    )
    assert await database.messages.edit(9, "Welc", 2) is None
    assert await database.messages.get(said.id) == said


async def test_a_deleted_question_leaves_its_reply_without_reference(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, "q1", post_id=5)
    later = await ask(database, channel, "q2", post_id=6)
    reply = await answer(database, channel, question.id, "a1")
    gone = await database.messages.delete_post(5)
    assert gone is not None
    assert (gone.content, gone.post_ids) == ("q1", (5,))
    assert await database.messages.get(question.id) is None
    assert await database.messages.delete_post(5) is None
    kept = await database.messages.get(reply.id)
    assert kept is not None
    assert kept.reply_to is None
    history = await database.messages.history(channel, limit=10, up_to=later.id)
    assert texts(history) == ["a1", "q2"]  # it keeps its place


async def test_a_reply_in_several_posts_goes_with_the_last(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel)
    reply = await begin(database, channel, question.id)
    for position, post_id in enumerate((30, 20, 10)):
        await database.messages.posted(reply.id, post_id, position)
    await database.messages.finish_reply(reply.id, "long", finish_reason="stop", adapter="base")
    for post_id, before in ((20, (30, 20, 10)), (30, (30, 10)), (10, (10,))):
        gone = await database.messages.delete_post(post_id)
        assert gone is not None
        assert gone.post_ids == before
    assert await database.messages.get(reply.id) is None


async def test_a_post_behind_a_deleted_one_is_not_overwritten(
    database: Database, channel: Channel
) -> None:
    reply = await begin(database, channel, (await ask(database, channel)).id)
    for position, post_id in enumerate((10, 11, 12, 13)):
        await database.messages.posted(reply.id, post_id, position)
    await database.messages.delete_post(11)
    there = await database.messages.get(reply.id)
    assert there is not None
    assert there.post_ids == (10, 12, 13)
    await database.messages.posted(reply.id, 14, len(there.post_ids))
    await database.messages.posted(reply.id, 15, 5)  # by one who counts the deleted one
    await database.messages.posted(reply.id, 16, 5)
    there = await database.messages.get(reply.id)
    assert there is not None
    assert there.post_ids == (10, 12, 13, 14, 15, 16)


async def test_history_is_the_newest_part_oldest_first(
    database: Database, channel: Channel
) -> None:
    said = [await ask(database, channel, f"{number}") for number in range(10)]
    history = database.messages.history
    assert texts(await history(channel, limit=3)) == ["7", "8", "9"]
    assert texts(await history(channel, limit=3, up_to=said[5].id)) == ["3", "4", "5"]
    assert texts(await history(channel, limit=99, up_to=said[0].id)) == ["0"]
    assert await history(channel, limit=0) == []
    assert await history(channel, limit=-1) == []


async def test_a_reply_stands_behind_its_question(database: Database, channel: Channel) -> None:
    first = await ask(database, channel, "q1")
    reply = await begin(database, channel, first.id)
    second = await ask(database, channel, "q2")  # asked while the first answer streams
    await database.messages.finish_reply(reply.id, "a1", finish_reason="stop", adapter="base")
    history = database.messages.history
    assert texts(await history(channel, limit=9, up_to=second.id)) == ["q1", "a1", "q2"]
    assert texts(await history(channel, limit=9, up_to=first.id)) == ["q1"]
    assert texts(await history(channel, limit=9, up_to=reply.id)) == ["q1", "a1"]
    await answer(database, channel, second.id, "a2")
    assert texts(await history(channel, limit=9)) == ["q1", "a1", "q2", "a2"]


async def test_what_an_unfinished_reply_shows_is_history_but_not_its_own(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, "q")
    reply = await begin(database, channel, question.id)
    assert texts(await database.messages.history(channel, limit=9)) == ["q"]
    await database.messages.show(reply.id, "We")
    assert texts(await database.messages.history(channel, limit=9)) == ["q", "We"]
    assert texts(await database.messages.history(channel, limit=9, up_to=question.id)) == ["q"]


async def test_owed_questions_oldest_first(database: Database, channel: Channel) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    late = await ask(database, channel, "late", created_at=300)
    early = await ask(database, other, "early", created_at=200)
    await ask(database, channel, "too old", created_at=100)
    await ask(database, channel, "not owed", created_at=300, owed=False)
    failed = await ask(database, channel, "failed", created_at=300)
    await database.messages.set_answer(failed.id, "failed")
    answered = await ask(database, channel, "answered", created_at=300)
    await answer(database, channel, answered.id, "a")
    assert await database.messages.owed(since=150) == [early, late]
    assert await database.messages.owed(channel.id, since=150) == [late]
    assert await database.messages.owed(since=200) == [early, late]
    assert await database.messages.owed(since=301) == []


async def test_listening_goes_on_behind_the_newest_heard_post(
    database: Database, channel: Channel
) -> None:
    newest = database.messages.newest_post
    assert await newest(channel.id) is None
    assert await newest(999) is None
    await database.messages.add_said(
        channel.id,
        persona="mirela",
        persona_name="Mirela",
        content="Welcome!",
        created_at=1,
        post_id=10,
    )
    assert await newest(channel.id) == 10
    question = await ask(database, channel, post_id=30)
    await ask(database, channel, post_id=20)
    assert await newest(channel.id) == 30
    reply = await begin(database, channel, question.id)
    await database.messages.posted(reply.id, 40, 0)  # must not hide what was said between
    assert await newest(channel.id) == 30
    await database.messages.delete_post(30)
    assert await newest(channel.id) == 30
