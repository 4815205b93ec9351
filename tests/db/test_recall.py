"""The index of words: it follows what is said, changed and deleted, and stays in its channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.channels import Channel
from db.database import Database
from db.recall import MOST_HITS, index_words
from tests.db.conftest import answer, ask, begin

END = 1 << 39


async def index(database: Database) -> None:
    while await database.recall.catch_up():
        pass


async def where(database: Database, channel: Channel, word: str) -> tuple[int, ...]:
    await index(database)
    hits = await database.recall.hits(channel.id, [word], after=0, before=END)
    return hits.by_word[word]


async def test_words_are_found_in_any_form_and_only_in_their_channel(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    here = await ask(database, channel, "The silver compasses were lost.")
    there = await ask(database, other, "A compass!")
    assert await where(database, channel, "compass") == (here.id,)
    assert await where(database, other, "Compass") == (there.id,)
    assert await where(database, channel, "anchor") == ()


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("我的指南针丢了", "指南"),
        ("제 이름은 서윤이고 고양이를 키워요", "고양이"),
        ("Ein großes Schiff", "großes"),
        ("Μια θάλασσα", "θάλασσα"),
    ],
)
async def test_other_languages(database: Database, channel: Channel, said: str, word: str) -> None:
    message = await ask(database, channel, said)
    assert await where(database, channel, word) == (message.id,)


async def test_the_index_follows_edits_deletions_and_replies(
    database: Database, channel: Channel
) -> None:
    first = await ask(database, channel, "An anchor.", post_id=1)
    assert await where(database, channel, "anchor") == (first.id,)
    await database.messages.edit(1, "A lantern.", 2000.0)
    assert await where(database, channel, "anchor") == ()
    assert await where(database, channel, "lantern") == (first.id,)
    growing = await begin(database, channel, first.id)
    await database.messages.show(growing.id, "A lantern, aye")
    assert await where(database, channel, "lantern") == (first.id,)
    await database.messages.finish_reply(
        growing.id, "A lantern, aye.", finish_reason="stop", adapter="base"
    )
    assert await where(database, channel, "lantern") == (growing.id, first.id)
    await database.rewriting.begin_variant(
        growing.id, "A goat", adapter="base", sampling={}, created_at=3.0
    )
    assert await where(database, channel, "lantern") == (first.id,)
    await database.messages.delete_post(1)
    assert await where(database, channel, "lantern") == ()


async def test_a_search_keeps_between_its_ends_and_to_the_newest(
    database: Database, channel: Channel
) -> None:
    ids = [(await ask(database, channel, f"anchor {n}")).id for n in range(6)]
    await index(database)
    hits = await database.recall.hits(channel.id, ["anchor"], after=ids[0], before=ids[5])
    assert hits.by_word["anchor"] == tuple(reversed(ids[1:5]))
    assert hits.searched == 4
    nothing = await database.recall.hits(channel.id, ["anchor"], after=ids[2], before=ids[3])
    assert nothing.searched == 0
    assert MOST_HITS > 6


async def test_odd_words_find_nothing_and_break_nothing(
    database: Database, channel: Channel
) -> None:
    await ask(database, channel, "don't NEAR(a b) \U0001f40d")
    await index(database)
    odd = ['"', "don't", "a b", "NEAR(a", "*", "", "\U0001f40d", "words : a", "x" * 5000]
    hits = await database.recall.hits(channel.id, odd, after=0, before=END)
    assert all(found == () for found in hits.by_word.values())


async def test_messages_are_read_from_their_own_channel_only(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    here, there = await ask(database, channel, "a"), await ask(database, other, "b")
    read = await database.recall.read(channel.id, [there.id, here.id, 999])
    assert [message.id for message in read] == [here.id]


async def test_where_another_character_spoke_last(database: Database, channel: Channel) -> None:
    assert await database.recall.last_of_others(channel.id, ["mirela"]) == 0
    question = await ask(database, channel)
    reply = await answer(database, channel, question.id, "Mirela says.")
    said = await database.messages.add_said(
        channel.id, persona="bramble", persona_name="B", content="Hm.", created_at=1.0
    )
    await answer(database, channel, (await ask(database, channel)).id, "And on.")
    assert await database.recall.last_of_others(channel.id, ["mirela"]) == said.place
    assert await database.recall.last_of_others(channel.id, ["mirela", "bramble"]) == 0
    assert await database.recall.last_of_others(channel.id, ["bramble"]) > reply.place


async def test_old_messages_are_read_from_the_oldest_on(
    database: Database, channel: Channel
) -> None:
    ids = [(await ask(database, channel, str(n))).id for n in range(5)]
    await begin(database, channel, ids[1])
    read = await database.recall.oldest(channel.id, after=ids[0], before=ids[4], limit=2)
    assert [message.content for message in read] == ["1", "2"]


@given(st.text(max_size=60))
def test_index_words_are_words_to_sqlite_too(text: str) -> None:
    for word in index_words(text):
        assert word
        assert not set(word) & set(" \"'*:^(){}")
