"""A person sees what is held of them, and can be forgotten to the last byte."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from db.channels import Channel
from db.database import Database
from db.privacy import Held
from tests.db.conftest import answer, ask, begin

SECRET = "the-goat-is-called-Balthasar"
NOTHING_KEPT: dict[str, object] = {
    "logging": {"logged": True, "since": None},
    "blocked": [],
    "facts": [],
    "notes": [],
    "lore": [],
    "lore_books": [],
    "summaries": [],
}


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
    said = exported["messages"]
    assert isinstance(said, list)
    assert [(entry["channel"], entry["content"]) for entry in said] == [
        ("discord:1", "uno"),
        ("discord:2", "two"),
    ]
    assert said[0] == {
        "channel": "discord:1",
        "channel_name": "tavern",
        "author_name": "Ann",
        "content": "uno",
        "created_at": 1000.0,
        "edited_at": 2000.0,
        "post_ids": [5],
    }
    assert await database.privacy.export_author("persona:mirela") == {
        "author_key": "persona:mirela",
        "messages": [],
        "votes": [],
        "consent": {"training": None, "decided_at": None, "servers": []},
        **NOTHING_KEPT,
    }


async def vote(database: Database, message_id: int, voter: str, liked: bool = True) -> None:
    await database.feedback.vote(message_id, voter_key=voter, liked=liked, created_at=3.0)


async def put_otherwise(database: Database, message_id: int, text: str) -> int:
    variant = await database.feedback.add_variant(
        message_id, text, adapter=None, sampling=None, finish_reason="stop", created_at=2.0
    )
    return variant.id


async def test_forgetting_reaches_votes_variants_agreements_and_names(
    database: Database, channel: Channel, file: Path
) -> None:
    ann, bo = "discord:7777", "discord:8"
    direct = await database.channels.seen("discord:5", guild_key=None, name="Annabel", kind="dm")
    of_ann = await answer(database, channel, (await ask(database, channel, author=ann)).id, "To A.")
    of_bo = await answer(database, channel, (await ask(database, channel, author=bo)).id, "To B.")
    await ask(database, direct, author=ann)
    await put_otherwise(database, of_ann.id, f"not shown: {SECRET}")
    await put_otherwise(database, of_bo.id, "not shown either")
    for reply in (of_ann, of_bo):
        await vote(database, reply.id, ann)
        await vote(database, reply.id, bo)
    await database.consent.set_author(ann, True)
    await database.consent.set_server("discord:9", True, by=ann)
    await database.consent.set_server(direct.key, True, by=ann)
    assert await database.privacy.held_of(ann) == Held(messages=2, votes=2)

    assert await database.privacy.forget_author(ann) == 2
    for trace in (ann, SECRET, "Annabel"):
        assert trace.encode() not in bytes_on_disk(file)
    assert await database.privacy.held_of(ann) == Held(messages=0, votes=0)
    assert await database.privacy.held_of(bo) == Held(messages=1, votes=2)
    assert await database.feedback.votes(channel.id) == {of_ann.id: (1, 0), of_bo.id: (1, 0)}
    assert await database.feedback.variants(of_ann.id) == []
    assert len(await database.feedback.variants(of_bo.id)) == 2
    assert await database.consent.author(ann) is None
    # The server's administrator spoke for the server; the direct message was the person's own.
    assert await database.consent.server("discord:9") is True
    assert await database.consent.server(direct.key) is None


async def test_a_forgotten_person_stays_opted_out_and_nothing_more_is_known(
    database: Database, channel: Channel
) -> None:
    await ask(database, channel)
    await database.consent.set_author("discord:7", False)
    await database.privacy.forget_author("discord:7")
    assert await database.consent.opted_out() == {"discord:7"}
    assert await database.privacy.export_author("discord:7") == {
        "author_key": "discord:7",
        "messages": [],
        "votes": [],
        "consent": {"training": False, "decided_at": None, "servers": []},
        **NOTHING_KEPT,
    }


async def test_the_export_holds_votes_and_agreements(database: Database, channel: Channel) -> None:
    ann = "discord:7"
    reply = await answer(database, channel, (await ask(database, channel)).id, "First.")
    other = await answer(database, channel, (await ask(database, channel)).id, "Only.")
    await vote(database, reply.id, ann, liked=False)
    variant = await put_otherwise(database, reply.id, "Second.")
    await database.feedback.choose(variant)
    await vote(database, other.id, ann)
    await vote(database, other.id, "discord:8")
    await database.consent.set_author(ann, True)
    await database.consent.set_server("discord:9", True, by=ann)
    exported = await database.privacy.export_author(ann)
    assert json.loads(json.dumps(exported)) == exported
    place = {"channel": "discord:1", "channel_name": "tavern", "created_at": 3.0}
    assert exported["votes"] == [
        {**place, "reply": "First.", "liked": False},
        {**place, "reply": "Only.", "liked": True},
    ]
    consent = exported["consent"]
    assert isinstance(consent, dict)
    assert consent["training"] is True
    assert consent["decided_at"] > 1e9
    [server] = consent["servers"]
    assert (server["server"], server["allowed"]) == ("discord:9", True)
