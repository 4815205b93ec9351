"""Opt-outs of logging, and messages that are stored only until they are answered."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database
from db.messages import Message
from tests.db.conftest import answer, ask, begin
from tests.db.test_privacy import bytes_on_disk

SECRET = "the-goat-is-called-Balthasar"


async def pass_by(database: Database, channel: Channel, content: str = SECRET) -> Message:
    """A question of which nothing is kept once it is answered."""
    async with database.transaction():
        question = await ask(database, channel, content, post_id=70)
        await database.unlogged.mark(question.id)
    return question


async def indexed(database: Database) -> list[int]:
    """Ids of the messages that have words in the index."""
    async with database.transaction() as connection:
        rows = await connection.execute_fetchall("SELECT rowid & ((1 << 40) - 1) FROM recall")
        return [row[0] for row in rows]


async def test_every_opt_out_is_enough_and_only_its_own_word_takes_it_back(
    database: Database, channel: Channel
) -> None:
    unlogged = database.unlogged
    thread = await database.channels.seen(
        "discord:2",
        guild_key="discord:9",
        name="aside",
        kind="thread",
        parent_key="discord:1",
    )
    assert await unlogged.reasons(channel, "discord:7") == frozenset()
    await unlogged.set("author", "discord:7", False)
    assert await unlogged.reasons(channel, "discord:7") == {"author"}
    assert await unlogged.reasons(channel, "discord:8") == frozenset()
    await unlogged.set("channel", "discord:1", False)
    await unlogged.set("server", "discord:9", False)
    assert await unlogged.reasons(thread, "discord:7") == {"author", "channel", "server"}
    await unlogged.set("channel", thread.key, True)
    assert await unlogged.reasons(thread, "discord:8") == {"channel", "server"}
    await unlogged.set("channel", "discord:1", True)
    await unlogged.set("server", "discord:9", True)
    assert await unlogged.reasons(thread, "discord:8") == frozenset()
    assert not await unlogged.logs_author("discord:7")


async def test_a_server_and_a_channel_of_the_same_key_are_two(
    database: Database, channel: Channel
) -> None:
    await database.unlogged.set("server", channel.key, False)
    assert await database.unlogged.reasons(channel, "discord:7") == frozenset()


async def test_what_passed_is_nowhere_in_the_files(
    database: Database, channel: Channel, file: Path
) -> None:
    question = await pass_by(database, channel)
    reply = await answer(database, channel, question.id, f"So {SECRET}!")
    assert reply.passing
    await database.messages.posted(reply.id, 71, 0)
    assert SECRET.encode() in bytes_on_disk(file)
    await database.recall.catch_up()
    assert await indexed(database) == []
    gone = await database.unlogged.let_go(question.id)
    assert [(line.role, line.content) for line in gone] == [
        ("user", SECRET),
        ("character", f"So {SECRET}!"),
    ]
    assert gone[1].reply_to == question.id
    assert SECRET.encode() not in bytes_on_disk(file)
    assert await database.messages.count(channel.id) == 0
    assert await database.unlogged.showed(71)
    assert not await database.unlogged.showed(70)
    assert await database.messages.newest_post(channel.id) == 70  # it is not read back


async def test_what_waits_for_its_reply_stays(database: Database, channel: Channel) -> None:
    question = await pass_by(database, channel)
    await begin(database, channel, question.id)
    assert await database.unlogged.let_go(question.id) == []
    assert [message.id for message in await database.messages.owed(since=0)] == [question.id]


async def test_what_is_kept_is_not_let_go(database: Database, channel: Channel) -> None:
    question = await ask(database, channel)
    reply = await answer(database, channel, question.id, "Hm.")
    assert not reply.passing
    assert await database.unlogged.let_go(question.id) == []
    await database.recall.catch_up()
    assert await indexed(database) == [question.id, reply.id]


async def test_a_reply_goes_though_its_question_was_deleted(
    database: Database, channel: Channel
) -> None:
    question = await pass_by(database, channel)
    await answer(database, channel, question.id, "So!")
    await database.messages.delete_post(70)
    assert [line.content for line in await database.unlogged.let_go(question.id)] == ["So!"]
    assert await database.messages.count(channel.id) == 0


async def test_a_reply_that_begins_after_its_question_was_deleted_passes_too(
    database: Database, channel: Channel
) -> None:
    question = await pass_by(database, channel)
    await database.messages.delete_post(70)
    reply = await database.messages.begin_reply(
        channel.id,
        question=question.id,
        persona="mirela",
        persona_name="Mirela",
        adapter="base",
        sampling={},
        passing=True,
    )
    assert reply.passing
    await database.messages.finish_reply(reply.id, "So!", finish_reason="stop", adapter="base")
    await database.recall.catch_up()
    assert await indexed(database) == []
    assert [line.content for line in await database.unlogged.let_go(question.id)] == ["So!"]


async def test_another_process_that_reads_is_not_waited_for(file: Path) -> None:
    async with await Database.open(file, busy_timeout_seconds=30) as database:
        channel = await database.channels.seen(
            "discord:1", guild_key="discord:9", name="tavern", kind="guild"
        )
        question = await pass_by(database, channel)
        await answer(database, channel, question.id, "So!")
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchone()
            async with asyncio.timeout(10):
                assert await database.unlogged.let_go(question.id)
                await database.retention.finish()
            assert SECRET.encode() in bytes_on_disk(file)  # the reader may still want it
        await database.retention.finish()
        assert SECRET.encode() not in bytes_on_disk(file)


async def test_what_passes_leaves_the_summary_of_the_rest_alone(
    database: Database, channel: Channel
) -> None:
    kept = await ask(database, channel, "We are at the harbour.")
    question = await pass_by(database, channel)
    later = await ask(database, channel, "And then?")
    told = await database.recall.oldest(channel.id, after=0, before=later.place, limit=9)
    assert [message.id for message in told] == [kept.id]
    since = await database.summaries.of(channel, "mirela")
    await database.summaries.tell(
        channel, "mirela", "At the harbour.", since=since, piece=told, up_to=later.place, at=1.0
    )
    await answer(database, channel, question.id, "So!")
    await database.unlogged.let_go(question.id)
    assert (await database.summaries.of(channel, "mirela")).told == "At the harbour."


@pytest.mark.parametrize(("owed_since", "left"), [(500.0, 2), (1500.0, 0)])
async def test_after_a_crash_only_what_is_owed_stays(
    database: Database, channel: Channel, owed_since: float, left: int
) -> None:
    answered = await pass_by(database, channel)
    await answer(database, channel, answered.id, "So!")
    async with database.transaction():
        open_question = await ask(database, channel, "And?", post_id=80)  # of the time 1000
        await database.unlogged.mark(open_question.id)
    await begin(database, channel, open_question.id)
    swept = await database.unlogged.sweep(owed_since=owed_since, known_since=0.0)
    assert await database.messages.count(channel.id) == left
    assert swept == 4 - left


async def test_posts_are_known_for_a_while(database: Database, channel: Channel) -> None:
    question = await pass_by(database, channel)
    reply = await answer(database, channel, question.id, "So!")
    await database.messages.posted(reply.id, 71, 0)
    await database.unlogged.let_go(question.id)
    await database.unlogged.sweep(owed_since=0.0, known_since=1.0)
    assert await database.unlogged.showed(71)
    await database.unlogged.sweep(owed_since=0.0, known_since=2.0**40)
    assert not await database.unlogged.showed(71)


async def test_who_is_forgotten_stays_unlogged(database: Database, channel: Channel) -> None:
    await database.unlogged.set("author", "discord:7", False)
    await database.privacy.forget_author("discord:7")
    held = await database.privacy.export_author("discord:7")
    assert held["logging"] == {"logged": False, "since": None}


async def test_what_was_heard_and_not_kept_only_moves_on(
    database: Database, channel: Channel
) -> None:
    await database.unlogged.heard(channel.id, 9)
    await database.unlogged.heard(channel.id, 8)
    assert await database.messages.newest_post(channel.id) == 9
