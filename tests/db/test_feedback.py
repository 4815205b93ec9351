"""Other ways in which a reply was put, and what people think of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.channels import Channel
from db.database import Database, DatabaseError
from db.feedback import Variant
from db.messages import Message
from tests.db.conftest import answer, ask, begin


async def replied(database: Database, channel: Channel, text: str = "First.") -> Message:
    question = await ask(database, channel)
    return await answer(database, channel, question.id, text)


async def another(database: Database, reply: Message, text: str, at: float = 5.0) -> Variant:
    return await database.feedback.add_variant(
        reply.id,
        text,
        adapter="brass@2",
        sampling={"temperature": 0.9},
        finish_reason="length",
        created_at=at,
    )


async def shown(database: Database, reply: Message) -> str:
    message = await database.messages.get(reply.id)
    assert message is not None
    return message.content


async def test_the_first_variant_keeps_what_was_there(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    assert await database.feedback.variants(reply.id) == []
    second = await another(database, reply, "Second.")
    assert second == Variant(
        id=second.id,
        message_id=reply.id,
        content="Second.",
        adapter="brass@2",
        sampling={"temperature": 0.9},
        finish_reason="length",
        created_at=5.0,
        chosen=False,
    )
    first, also_second = await database.feedback.variants(reply.id)
    assert also_second == second
    assert (first.content, first.chosen) == ("First.", True)
    assert (first.adapter, first.finish_reason) == ("default@1", "stop")
    assert (first.sampling, first.created_at) == (reply.sampling, reply.created_at)
    assert await shown(database, reply) == "First."


async def test_what_is_chosen_is_what_is_remembered(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    second = await another(database, reply, "Second.")
    third = await another(database, reply, "Third.")
    message = await database.feedback.choose(second.id)
    assert message == await database.messages.get(reply.id)
    assert (message.content, message.adapter) == ("Second.", "brass@2")
    assert (message.sampling, message.finish_reason) == ({"temperature": 0.9}, "length")
    assert [said.content for said in await database.messages.history(channel, limit=9)] == [
        "Hello?",
        "Second.",
    ]
    await database.feedback.choose(second.id)  # again
    await database.feedback.choose(third.id)
    variants = await database.feedback.variants(reply.id)
    assert [(v.content, v.chosen) for v in variants] == [
        ("First.", False),
        ("Second.", False),
        ("Third.", True),
    ]
    back = await database.feedback.choose(variants[0].id)
    assert back == reply  # as it was in every respect


async def test_what_became_of_a_variant_stays_with_it(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    second = await another(database, reply, "Second.")
    await database.messages.finish_reply(
        reply.id, "First, and more.", finish_reason="stop", adapter="default@1"
    )
    await database.feedback.choose(second.id)
    first, _ = await database.feedback.variants(reply.id)
    assert first.content == "First, and more."


async def test_a_greeting_can_be_put_otherwise(database: Database, channel: Channel) -> None:
    said = await database.messages.add_said(
        channel.id, persona="mirela", persona_name="Mirela", content="Ahoy.", created_at=1.0
    )
    other = await database.feedback.add_variant(
        said.id, "Hm?", adapter=None, sampling=None, finish_reason=None, created_at=2.0
    )
    assert (await database.feedback.choose(other.id)).adapter is None
    first, _ = await database.feedback.variants(said.id)
    assert (await database.feedback.choose(first.id)) == said


async def test_only_replies_that_are_there_have_variants(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, post_id=1)
    for gone in (question, await ask(database, channel, post_id=2)):
        if gone.post_ids == (2,):
            await database.messages.delete_post(2)
        with pytest.raises(DatabaseError, match=f"no reply with the id {gone.id}"):
            await another(database, gone, "x")
        await database.feedback.vote(gone.id, voter_key="a", liked=True, created_at=1.0)
    assert await database.feedback.votes_cast(channel.id) == []
    assert await database.feedback.of_channel(channel.id) == []


async def test_a_reply_that_is_written_cannot_be_swiped(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel)
    reply = await begin(database, channel, question.id)
    other = await another(database, reply, "Second.")
    with pytest.raises(DatabaseError, match="still being written"):
        await database.feedback.choose(other.id)
    await database.messages.finish_reply(reply.id, "First.", finish_reason="stop", adapter="base")
    first, _ = await database.feedback.variants(reply.id)
    assert first.content == "First."
    assert (await database.feedback.choose(other.id)).content == "Second."


async def test_choosing_after_the_deletion_is_a_sentence(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    await database.messages.posted(reply.id, 50, 0)
    second = await another(database, reply, "Second.")
    await database.feedback.vote(reply.id, voter_key="a", liked=True, created_at=1.0)
    await database.messages.delete_post(50)
    with pytest.raises(DatabaseError, match=r"That version of the reply is gone.*deleted\.$"):
        await database.feedback.choose(second.id)
    assert await database.feedback.variants(reply.id) == []
    assert await database.feedback.votes_cast(channel.id) == []
    newer = await another(database, await replied(database, channel), "x")
    assert newer.id > second.id  # an old button never reaches a new variant


async def test_without_its_question_a_reply_keeps_only_what_is_shown(
    database: Database, channel: Channel
) -> None:
    question = await ask(database, channel, post_id=1)
    reply = await answer(database, channel, question.id, "First.")
    second = await another(database, reply, "Second.")
    await database.feedback.vote(reply.id, voter_key="a", liked=False, created_at=1.0)
    await database.feedback.choose(second.id)
    await database.feedback.vote(reply.id, voter_key="b", liked=True, created_at=1.0)
    await database.messages.delete_post(1)
    assert await database.feedback.variants(reply.id) == []
    assert await shown(database, reply) == "Second."
    assert await database.feedback.votes(channel.id) == {reply.id: (1, 0)}
    [vote] = await database.feedback.votes_cast(channel.id)
    assert (vote.voter_key, vote.variant_id) == ("b", None)
    # It can be put otherwise again, and the vote stays with what it was given to.
    third = await another(database, reply, "Third.")
    await database.feedback.choose(third.id)
    assert await database.feedback.votes(channel.id) == {}


async def test_one_vote_each_and_the_latest_wins(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    feedback = database.feedback

    async def vote(liked: bool | None, at: float, voter: str = "a") -> None:
        await feedback.vote(reply.id, voter_key=voter, liked=liked, created_at=at)

    assert await feedback.votes(channel.id) == {}
    await vote(True, 1.0)
    await vote(True, 2.0)
    await vote(True, 2.0, "b\0")
    await vote(False, 2.0, "b")
    assert await feedback.votes(channel.id) == {reply.id: (2, 1)}
    await vote(False, 3.0)
    await vote(True, 2.5)  # late
    await vote(None, 2.5)  # late, too
    assert await feedback.votes(channel.id) == {reply.id: (1, 2)}
    await vote(None, 3.0)
    await vote(None, 4.0)
    assert await feedback.votes(channel.id) == {reply.id: (1, 1)}
    [first, second] = await feedback.votes_cast(channel.id)
    assert (first.voter_key, first.liked, first.created_at) == ("b", False, 2.0)
    assert (second.voter_key, second.liked, second.variant_id) == ("b\0", True, None)


async def test_votes_count_for_what_they_were_given_to(
    database: Database, channel: Channel
) -> None:
    reply = await replied(database, channel)
    feedback = database.feedback
    await feedback.vote(reply.id, voter_key="a", liked=False, created_at=1.0)
    second = await another(database, reply, "Second.")
    assert await feedback.votes(channel.id) == {reply.id: (0, 1)}
    await feedback.choose(second.id)
    assert await feedback.votes(channel.id) == {}
    await feedback.vote(reply.id, voter_key="b", liked=True, created_at=2.0)
    assert await feedback.votes(channel.id) == {reply.id: (1, 0)}
    first, _ = await feedback.variants(reply.id)
    assert [(v.voter_key, v.variant_id) for v in await feedback.votes_cast(channel.id)] == [
        ("a", first.id),
        ("b", second.id),
    ]
    await feedback.choose(first.id)
    assert await feedback.votes(channel.id) == {reply.id: (0, 1)}
    await feedback.vote(reply.id, voter_key="b", liked=False, created_at=3.0)  # moves
    assert await feedback.votes(channel.id) == {reply.id: (0, 2)}


async def test_votes_of_who_opted_out_do_not_count(database: Database, channel: Channel) -> None:
    reply = await replied(database, channel)
    for voter in ("a", "b"):
        await database.feedback.vote(reply.id, voter_key=voter, liked=True, created_at=1.0)
    await database.consent.set_author("b", False)
    assert await database.feedback.votes(channel.id) == {reply.id: (1, 0)}
    assert len(await database.feedback.votes_cast(channel.id)) == 2
    await database.consent.set_author("b", True)
    assert await database.feedback.votes(channel.id) == {reply.id: (2, 0)}


async def test_channels_are_kept_apart(database: Database, channel: Channel) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    here = await replied(database, channel)
    there = await replied(database, other)
    for reply in (here, there):
        await another(database, reply, f"in {reply.channel_id}")
        await database.feedback.vote(reply.id, voter_key="a", liked=True, created_at=1.0)
    found = await database.feedback.of_channel(other.id)
    assert [variant.content for variant in found] == ["First.", f"in {other.id}"]
    assert await database.feedback.votes(channel.id) == {here.id: (1, 0)}


@pytest.mark.parametrize("text", ["", "nul \0 inside", "lone \ud83d", "'; --", "가 👩‍👩‍👧 \u202e"])
async def test_any_text_is_stored(database: Database, channel: Channel, text: str) -> None:
    stored = text.replace("\ud83d", "\ufffd")
    reply = await replied(database, channel)
    variant = await database.feedback.add_variant(
        reply.id,
        text,
        adapter=text,
        sampling={"stop": [text]},
        finish_reason=text,
        created_at=1.0,
    )
    assert (variant.content, variant.adapter, variant.finish_reason) == (stored,) * 3
    message = await database.feedback.choose(variant.id)
    assert (message.content, message.sampling) == (stored, {"stop": [stored]})
    await database.feedback.vote(reply.id, voter_key=text, liked=True, created_at=1.0)
    [vote] = await database.feedback.votes_cast(channel.id)
    assert (vote.voter_key, vote.variant_id) == (stored, variant.id)


small = st.integers(0, 7)
what_happens = (
    *("ask", "add", "add", "choose", "choose", "edit", "like", "dislike", "unvote"),
    *("delete", "delete reply", "forget"),
)
events = st.lists(st.tuples(st.sampled_from(what_happens), small, small), max_size=25)


@settings(max_examples=15, deadline=None)
@given(events=events)
async def test_whatever_happens_one_variant_is_chosen_and_no_vote_hangs_in_the_air(
    events: list[tuple[str, int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with await Database.open(Path(folder) / "db") as database:
            channel = await database.channels.seen("c:1", guild_key=None, name="", kind="guild")
            replies: list[Message] = []
            for number, event in enumerate([("ask", 0, 0), ("ask", 1, 0), *events]):
                await happen(database, channel, replies, event, number)
                await check(database, channel)


async def happen(
    database: Database,
    channel: Channel,
    replies: list[Message],
    event: tuple[str, int, int],
    number: int,
) -> None:
    what, first, second = event
    feedback, at = database.feedback, float(number)
    if what == "ask":
        post = 2 * len(replies)
        asked = await ask(database, channel, author=f"a:{first % 3}", post_id=post)
        reply = await answer(database, channel, asked.id, f"reply {number}")
        await database.messages.posted(reply.id, post + 1, 0)
        replies.append(reply)
        return
    reply = replies[first % len(replies)]
    if what == "add" and await database.messages.get(reply.id) is not None:
        await another(database, reply, f"variant {number}", at)
    elif what == "choose":
        if variants := await feedback.variants(reply.id):
            wanted = variants[second % len(variants)]
            assert (await feedback.choose(wanted.id)).content == wanted.content
    elif what in ("like", "dislike"):
        await feedback.vote(
            reply.id, voter_key=f"a:{second % 3}", liked=what == "like", created_at=at
        )
    elif what == "unvote":
        await feedback.vote(reply.id, voter_key=f"a:{second % 3}", liked=None, created_at=at)
    elif what == "edit":
        await database.messages.finish_reply(
            reply.id, f"edited {number}", finish_reason="stop", adapter="base"
        )
    elif what == "delete":
        await database.messages.delete_post(2 * (first % len(replies)))
    elif what == "delete reply":
        await database.messages.delete_post(2 * (first % len(replies)) + 1)
    elif what == "forget":
        voter = f"a:{second % 3}"
        await database.privacy.forget_author(voter)
        assert voter not in {v.voter_key for v in await feedback.votes_cast(channel.id)}
        assert (await database.privacy.held_of(voter)) == (await database.privacy.held_of("none"))


async def check(database: Database, channel: Channel) -> None:
    """The counts again, the slow way, from every single vote; and what always holds."""
    messages = {m.id: m for m in await database.messages.history(channel, limit=999)}
    variants = await database.feedback.of_channel(channel.id)
    chosen = {v.message_id: v for v in variants if v.chosen}
    assert len(chosen) == sum(v.chosen for v in variants)
    assert set(chosen) == {v.message_id for v in variants}
    for variant in chosen.values():
        message = messages[variant.message_id]
        assert (variant.content, variant.adapter) == (message.content, message.adapter)
    counted: dict[int, tuple[int, int]] = {}
    for vote in await database.feedback.votes_cast(channel.id):
        assert messages[vote.message_id].role == "character"
        present = chosen.get(vote.message_id)
        if present is None:
            assert vote.variant_id is None
        else:
            assert vote.variant_id in {v.id for v in variants if v.message_id == vote.message_id}
        if vote.variant_id == (present.id if present else None):
            liked, disliked = counted.get(vote.message_id, (0, 0))
            counted[vote.message_id] = (liked + vote.liked, disliked + (not vote.liked))
    assert await database.feedback.votes(channel.id) == counted
