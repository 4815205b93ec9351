"""Channels and their settings."""

from __future__ import annotations

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from tests.db.conftest import answer, ask, begin, texts


async def test_a_channel_is_created_once_and_its_name_followed(
    database: Database, channel: Channel
) -> None:
    assert channel == Channel(
        id=channel.id,
        key="discord:1",
        guild_key="discord:9",
        name="tavern",
        kind="guild",
        persona=None,
        adapter=None,
        mode=None,
        sampling={},
        scene_start=0,
    )
    await database.channels.set(channel.id, persona="olga")
    renamed = await database.channels.seen(
        "discord:1", guild_key="discord:9", name="inn", kind="guild"
    )
    assert (renamed.id, renamed.name, renamed.persona) == (channel.id, "inn", "olga")
    assert await database.channels.all() == [renamed]
    assert await database.channels.get("discord:1") == renamed
    assert await database.channels.by_id(channel.id) == renamed
    assert await database.channels.get("discord:2") is None


async def test_only_the_given_settings_change_and_none_clears(
    database: Database, channel: Channel
) -> None:
    await database.channels.set(
        channel.id, persona="olga", adapter="pirate@3", mode="always", sampling={"top_k": 5}
    )
    changed = await database.channels.set(channel.id, adapter=None, sampling={"stop": ["é\ud800"]})
    assert changed == await database.channels.by_id(channel.id)
    assert (changed.persona, changed.adapter, changed.mode) == ("olga", None, "always")
    assert changed.sampling == {"stop": ["é\ufffd"]}
    cleared = await database.channels.set(channel.id, persona=None, mode=None, sampling=None)
    assert (cleared.persona, cleared.mode, cleared.sampling) == (None, None, {})
    assert await database.channels.set(channel.id) == cleared


async def test_settings_of_one_channel_do_not_touch_another(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="dm", kind="dm")
    await database.channels.set(channel.id, persona="olga", sampling={"top_k": 5})
    await ask(database, channel)
    await database.channels.new_scene(channel.id)
    assert await database.channels.by_id(other.id) == other


async def test_unknown_ids_are_a_sentence(database: Database) -> None:
    for attempt in (
        database.channels.by_id(5),
        database.channels.set(5, persona="olga"),
        database.channels.new_scene(5),
    ):
        with pytest.raises(DatabaseError, match="no channel with the id 5"):
            await attempt


async def test_a_new_scene_empties_the_history_but_keeps_the_messages(
    database: Database, channel: Channel
) -> None:
    first = await ask(database, channel, "old")
    reply = await answer(database, channel, first.id, "old answer")
    channel = await database.channels.new_scene(channel.id)
    assert channel.scene_start == reply.id
    assert await database.messages.history(channel, limit=10) == []
    await ask(database, channel, "new")
    assert texts(await database.messages.history(channel, limit=10)) == ["new"]
    assert await database.messages.count(channel.id) == 3


async def test_ids_do_not_come_back_after_deletion_in_a_new_scene(
    database: Database, channel: Channel
) -> None:
    await ask(database, channel, "old", post_id=1)
    channel = await database.channels.new_scene(channel.id)
    await database.messages.delete_post(1)
    await ask(database, channel, "new")
    assert texts(await database.messages.history(channel, limit=10)) == ["new"]
    again = await database.channels.new_scene(channel.id)
    assert again.scene_start > channel.scene_start


async def test_a_new_scene_twice_never_goes_back(database: Database, channel: Channel) -> None:
    await ask(database, channel, "old", post_id=1)
    before = await database.channels.new_scene(channel.id)
    await database.messages.delete_post(1)
    assert await database.channels.new_scene(channel.id) == before


async def test_channels_of_which_something_is_remembered(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="dm", kind="dm")
    assert await database.channels.with_messages() == []
    await ask(database, other, post_id=1)
    assert await database.channels.with_messages() == [other]
    await ask(database, channel)
    assert await database.channels.with_messages() == [channel, other]
    await database.messages.delete_post(1)
    assert await database.channels.with_messages() == [channel]


async def test_every_scene_is_read_in_its_bounds(database: Database, channel: Channel) -> None:
    async def scenes() -> list[list[str]]:
        return [texts(scene) async for scene in database.messages.scenes(channel.id)]

    assert await scenes() == []
    await database.channels.new_scene(channel.id)  # of nothing
    first = await ask(database, channel, "one", post_id=1)
    elsewhere = await database.channels.seen("discord:2", guild_key=None, name="dm", kind="dm")
    await ask(database, elsewhere, "not here")
    await database.channels.new_scene(channel.id)
    await answer(database, channel, first.id, "late answer")  # stands with its question
    await begin(database, channel, first.id)  # shows nothing yet
    await database.channels.new_scene(channel.id)
    await database.channels.new_scene(channel.id)  # twice
    question = await ask(database, channel, "two")
    await ask(database, channel, "meanwhile")
    await answer(database, channel, question.id, "answer")
    assert await scenes() == [["one", "late answer"], ["two", "answer", "meanwhile"]]
    channel = await database.channels.new_scene(channel.id)
    await ask(database, channel, "three", author="discord:8")
    whole = [m async for scene in database.messages.scenes(channel.id) for m in scene]
    assert [m.author_key for m in whole][-1] == "discord:8"
    assert (await scenes())[-1] == texts(await database.messages.history(channel, limit=9))
    await database.privacy.forget_author("discord:7")
    assert await scenes() == [["late answer"], ["answer"], ["three"]]
