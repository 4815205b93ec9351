"""A person sees what is held of them, and can be forgotten to the last byte."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask, begin

SECRET = "the-goat-is-called-Balthasar"


def bytes_on_disk(file: Path) -> bytes:
    return b"".join(part.read_bytes() for part in file.parent.iterdir())


async def test_a_forgotten_person_leaves_nothing_in_the_files(
    database: Database, channel: Channel, file: Path
) -> None:
    for number in range(50):
        await ask(database, channel, f"{number}", author="discord:8")
        await ask(
            database, channel, f"{SECRET} {number}" * 20, author="discord:7777", post_id=number
        )
    assert SECRET.encode() in bytes_on_disk(file)
    assert await database.privacy.forget_author("discord:7777") == 50
    for trace in (SECRET, "discord:7777"):
        assert trace.encode() not in bytes_on_disk(file)
    assert await database.messages.count(channel.id) == 50
    assert await database.messages.by_post(3) is None
    assert await database.privacy.forget_author("discord:7777") == 0


async def test_replies_stay_without_their_question(database: Database, channel: Channel) -> None:
    question = await ask(database, channel)
    await answer(database, channel, question.id, "My own words.")
    open_question = await ask(database, channel)
    await begin(database, channel, open_question.id)
    await database.privacy.forget_author("discord:7")
    [reply] = await database.messages.history(channel, limit=9)
    assert (reply.content, reply.reply_to) == ("My own words.", None)
    assert await database.messages.owed(since=0) == []


async def test_forgetting_works_while_another_process_reads(
    database: Database, channel: Channel, file: Path
) -> None:
    await ask(database, channel)
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        assert await database.privacy.forget_author("discord:7") == 1
    assert await database.messages.count(channel.id) == 0


async def test_forgetting_can_be_part_of_a_larger_step(
    database: Database, channel: Channel
) -> None:
    await ask(database, channel)
    async with database.transaction():
        assert await database.privacy.forget_author("discord:7") == 1
        await ask(database, channel, author="discord:8")
    assert await database.messages.count(channel.id) == 1


async def test_the_export_holds_all_of_one_person_as_json(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    await ask(database, channel, "one", post_id=5)
    await ask(database, channel, "not mine", author="discord:8")
    await ask(database, other, "two")
    await database.messages.edit(5, "uno", 2000.0)
    exported = await database.privacy.export_author("discord:7")
    assert json.loads(json.dumps(exported)) == exported
    assert [(entry["channel"], entry["content"]) for entry in exported] == [
        ("discord:1", "uno"),
        ("discord:2", "two"),
    ]
    assert exported[0] == {
        "channel": "discord:1",
        "channel_name": "tavern",
        "author_name": "Ann",
        "content": "uno",
        "created_at": 1000.0,
        "edited_at": 2000.0,
        "post_ids": [5],
    }
    assert await database.privacy.export_author("persona:mirela") == []
