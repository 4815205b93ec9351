"""What is too old goes, with all that was made of it, and nothing else does."""

from __future__ import annotations

from pathlib import Path

from db import retention
from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask, texts
from tests.db.test_privacy import bytes_on_disk

SECRET = "the-goat-is-called-Balthasar"
OLD, NOW = 1000.0, 2000.0
BORDER = 1500.0


async def make_old(database: Database) -> None:
    """All replies so far are as old as the questions."""
    async with database.transaction() as connection:
        await connection.execute_fetchall("UPDATE messages SET created_at = ?", (OLD,))


async def test_an_old_exchange_leaves_nothing_in_the_files(
    database: Database, channel: Channel, file: Path
) -> None:
    question = await ask(database, channel, SECRET, created_at=OLD, post_id=5)
    reply = await answer(database, channel, question.id, f"So, {SECRET}.")
    await database.messages.posted(reply.id, 6, 0)
    await database.feedback.add_variant(
        reply.id, f"{SECRET}?", adapter=None, sampling=None, finish_reason=None, created_at=OLD
    )
    await database.feedback.vote(reply.id, voter_key="discord:7", liked=True, created_at=OLD)
    await database.facts.add(
        channel, "mirela", f"I own {SECRET}.", author_key="discord:7", author_name="Ann",
        at=NOW, message_id=question.id, pinned=True,
    )  # fmt: skip
    await database.recall.catch_up()
    await make_old(database)
    kept = await ask(database, channel, "Good morning.", created_at=NOW)
    assert await database.retention.forget_before(BORDER) == 2
    assert SECRET.encode() not in bytes_on_disk(file)
    assert texts(await database.messages.history(channel, limit=9)) == ["Good morning."]
    assert await database.feedback.votes_cast(channel.id) == []
    assert await database.facts.of(channel, "mirela") == []
    assert (await database.recall.hits(channel.id, ["goat"], after=0, before=99)).by_word == {
        "goat": ()
    }
    assert await database.messages.newest_post(channel.id) == 5  # it is not heard again
    assert await database.retention.forget_before(BORDER) == 0
    assert await database.messages.get(kept.id) is not None


async def test_any_number_is_deleted_in_small_steps(database: Database, channel: Channel) -> None:
    count = 2 * retention.STEP + 3
    async with database.transaction():
        for number in range(count):
            await ask(database, channel, f"{number}", created_at=OLD)
    assert await database.retention.forget_before(BORDER) == count
    assert await database.messages.count(channel.id) == 0


async def test_a_summary_that_tells_of_it_is_emptied_and_others_stay(
    database: Database, channel: Channel
) -> None:
    elsewhere = await database.channels.seen(
        "discord:2", guild_key="discord:9", name="market", kind="guild"
    )
    for where, time in ((channel, OLD), (elsewhere, NOW)):
        said = [await ask(database, where, f"{n}", created_at=time) for n in range(2)]
        since = await database.summaries.of(where, "mirela")
        await database.summaries.tell(
            where, "mirela", "They counted.", since=since, piece=said, up_to=said[1].place, at=NOW
        )
    await database.retention.forget_before(BORDER)
    emptied = await database.summaries.of(channel, "mirela")
    assert (emptied.told, emptied.up_to) == ("", channel.scene_start)
    assert (await database.summaries.of(elsewhere, "mirela")).told == "They counted."


async def test_what_people_wrote_ages_from_when_they_wrote_it(
    database: Database, channel: Channel
) -> None:
    summaries = database.summaries
    await summaries.fix(channel, "mirela", "Ann owes gold.", by="discord:7", at=OLD)
    said = [await ask(database, channel, f"{n}", created_at=NOW) for n in range(2)]
    since = await summaries.of(channel, "mirela")
    await summaries.tell(
        channel, "mirela", "They count.", since=since, piece=said, up_to=said[1].place, at=NOW
    )
    await summaries.fix(channel, "bramble", "Bo owes a lance.", by="discord:8", at=NOW)
    for text, at in (("I am old.", OLD), ("I am new.", NOW)):
        await database.facts.add(
            channel, "mirela", text, author_key="discord:7", author_name="Ann", at=at, pinned=True
        )
    await database.direction.set_note(
        channel, "mirela", "Be brief.", depth=4, by="discord:7", at=OLD
    )
    await database.retention.forget_before(BORDER)
    left = await summaries.of(channel, "mirela")
    assert (left.fixed, left.fixed_by, left.told) == ("", None, "They count.")
    assert (await summaries.of(channel, "bramble")).fixed == "Bo owes a lance."
    assert [fact.text for fact in await database.facts.of(channel, "mirela")] == ["I am new."]
    note = await database.direction.note(channel, "mirela")
    assert note is not None
    assert note.text == "Be brief."


async def test_the_name_of_a_direct_message_goes_with_its_last_word(database: Database) -> None:
    for key, time in (("discord:3", OLD), ("discord:4", NOW)):
        talk = await database.channels.seen(key, guild_key=None, name="Ann", kind="dm")
        await ask(database, talk, created_at=time)
    await database.retention.forget_before(BORDER)
    assert [channel.name for channel in await database.channels.all()] == ["direct message", "Ann"]
