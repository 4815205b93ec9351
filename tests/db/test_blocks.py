"""The block lists of servers."""

from __future__ import annotations

from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask


async def test_a_list_is_of_one_server_and_names_everybody_once(database: Database) -> None:
    blocks = database.blocks
    assert await blocks.add("discord:9", "discord:8")
    assert await blocks.add("discord:9", "discord:7")
    assert not await blocks.add("discord:9", "discord:7")
    assert [block.author_key for block in await blocks.of("discord:9")] == [
        "discord:7",
        "discord:8",
    ]
    assert await blocks.add("discord:10", "discord:7")
    assert await blocks.all() == {
        "discord:9": {"discord:7", "discord:8"},
        "discord:10": {"discord:7"},
    }
    for server in ("discord:9", "discord:10"):
        assert await blocks.remove(server, "discord:7")
    assert not await blocks.remove("discord:9", "discord:7")
    assert await blocks.all() == {"discord:9": {"discord:8"}}
    assert await blocks.anywhere("discord:8")
    assert not await blocks.anywhere("discord:7")


async def test_a_block_outlives_being_forgotten_and_is_exported(database: Database) -> None:
    await database.blocks.add("discord:9", "discord:7")
    await database.privacy.forget_author("discord:7")
    held = await database.privacy.export_author("discord:7")
    blocked = held["blocked"]
    assert isinstance(blocked, list)
    assert [block["server"] for block in blocked] == ["discord:9"]


async def test_who_is_blocked_has_no_vote_there(database: Database, channel: Channel) -> None:
    elsewhere = await database.channels.seen(
        "discord:2", guild_key="discord:10", name="market", kind="guild"
    )
    for where in (channel, elsewhere):
        reply = await answer(database, where, (await ask(database, where)).id, "Hm.")
        for voter in ("discord:7", "discord:8"):
            await database.feedback.vote(reply.id, voter_key=voter, liked=False, created_at=1.0)
    await database.blocks.add("discord:9", "discord:7")
    assert list((await database.feedback.votes(channel.id)).values()) == [(0, 1)]
    assert list((await database.feedback.votes(elsewhere.id)).values()) == [(0, 2)]
