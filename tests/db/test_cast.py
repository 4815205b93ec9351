"""The cast of a channel, characters' homes, and what characters said last."""

from __future__ import annotations

from db.cast_members import Member
from db.database import Database


async def channel_of(database: Database) -> int:
    channel = await database.channels.seen("discord:1", guild_key="g", name="one", kind="guild")
    return channel.id


async def say(database: Database, channel: int, content: str) -> int:
    message = await database.messages.add_user(
        channel, author_key="u", author_name="Ann", content=content, created_at=1.0, owed=False
    )
    return message.id


async def test_who_joins_hears_from_then_on(database: Database) -> None:
    channel = await channel_of(database)
    first = await say(database, channel, "one")
    known = await database.channels.add_member(channel, "bramble", None)
    assert known.members == (Member("bramble", first),)
    known = await database.channels.add_member(channel, "bramble", "pirate")
    assert known.members == (Member("bramble", first, None, "pirate"),)
    second = await say(database, channel, "two")
    known = await database.channels.remove_member(channel, "bramble")
    assert known.members == (Member("bramble", first, second, "pirate"),)
    assert known.present == ()
    assert known.members[0].heard(second)
    assert not known.members[0].heard(first)
    assert not known.members[0].heard(second + 1)


async def test_who_left_is_forgotten_with_the_scene(database: Database) -> None:
    channel = await channel_of(database)
    await database.channels.add_member(channel, "bramble", None)
    await say(database, channel, "one")
    await database.channels.remove_member(channel, "bramble")
    newest = await say(database, channel, "two")
    await database.channels.new_scene(channel)
    known = await database.channels.add_member(channel, "maud", None)
    assert known.members == (Member("maud", newest),)
    # A stay in which nothing was said leaves no trace.
    assert (await database.channels.remove_member(channel, "maud")).members == ()


async def test_settings_survive_what_the_front_end_says(database: Database) -> None:
    channel = await channel_of(database)
    await database.channels.set(channel, greeting=2, members=(Member("maud"),))
    seen = await database.channels.seen(
        "discord:1", guild_key="g", name="one", kind="guild", age_restricted=True
    )
    assert (seen.greeting, seen.members, seen.age_restricted) == (2, (Member("maud"),), True)
    assert not (await database.channels.by_id(await channel_of(database))).age_restricted


async def test_homes(database: Database) -> None:
    homes = database.card_homes
    assert await homes.home("ash") is None
    await homes.settle("ash", "discord:1", 1.0)
    assert await homes.home("ash") == "discord:1"
    assert await homes.count("discord:1") == 1
    await homes.settle("ash", None, 2.0)
    assert await homes.home("ash") is None
    assert await homes.count("discord:1") == 0


async def test_what_characters_said_last(database: Database) -> None:
    channel = await channel_of(database)
    assert await database.speech.newest(channel) is None
    question = await say(database, channel, "one")
    reply = await database.messages.begin_reply(
        channel, question=question, persona="maud", persona_name="Maud", adapter="", sampling={}
    )
    assert await database.speech.newest(channel) is None
    assert await database.speech.replies_to(question) == []
    await database.messages.finish_reply(reply.id, "Yes.", finish_reason="stop", adapter="")
    newest = await database.speech.newest(channel)
    assert newest is not None
    assert (newest.content, newest.unasked) == ("Yes.", False)
    assert await database.speech.replies_to(question) == [newest]
    known = await database.channels.by_id(channel)
    assert await database.speech.scene_began(known) == 1.0
    assert await database.speech.scene_began(await database.channels.new_scene(channel)) is None
    assert await database.recall.last_before(channel, "maud", reply.place) == reply.place
    assert await database.recall.last_before(channel, "maud", reply.place - 1) == 0


async def test_an_unasked_reply_is_remembered_as_such(database: Database) -> None:
    channel = await channel_of(database)
    message = await database.messages.add_user(
        channel, author_key="u", author_name="Ann", content="so", created_at=1.0, owed=True,
        unasked=True,
    )  # fmt: skip
    assert message.unasked
    assert message.answer == "owed"
