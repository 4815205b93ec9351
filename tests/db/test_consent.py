"""Nothing is learnt from without agreement, and a person's own no wins everywhere."""

from __future__ import annotations

import itertools

import pytest

from db.channels import Channel, ChannelKind
from db.database import Database, DatabaseError

ADMIN = "discord:1000"
ANN = "discord:7"


async def seen(
    database: Database,
    key: str,
    kind: ChannelKind,
    guild: str | None = None,
    parent: str | None = None,
) -> Channel:
    return await database.channels.seen(
        key, guild_key=guild, name="somewhere", kind=kind, parent_key=parent
    )


async def test_a_server_needs_the_word_of_an_administrator(
    database: Database, channel: Channel
) -> None:
    consent = database.consent
    assert await consent.server("discord:9") is None
    assert not await consent.trainable(channel)
    await consent.set_server("discord:9", True, by=ADMIN)
    assert await consent.trainable(channel)
    other = await seen(database, "discord:2", "guild", "discord:10")
    assert not await consent.trainable(other)
    await consent.set_server("discord:9", False, by="discord:1001")
    assert await consent.server("discord:9") is False
    assert not await consent.trainable(channel)


async def test_a_channel_may_stay_out_but_cannot_agree_for_its_server(
    database: Database, channel: Channel
) -> None:
    consent = database.consent
    await consent.set_channel(channel.id, True)
    assert not await consent.trainable(channel)
    await consent.set_server("discord:9", True, by=ADMIN)
    await consent.set_channel(channel.id, False)
    assert await consent.channel(channel.id) is False
    assert not await consent.trainable(channel)
    await consent.set_channel(channel.id, None)
    assert await consent.channel(channel.id) is None
    assert await consent.trainable(channel)


async def test_a_thread_follows_its_channel_until_told_otherwise(
    database: Database, channel: Channel
) -> None:
    consent = database.consent
    thread = await seen(database, "discord:3", "thread", "discord:9", channel.key)
    await consent.set_server("discord:9", True, by=ADMIN)
    assert await consent.trainable(thread)
    await consent.set_channel(channel.id, False)
    assert not await consent.trainable(thread)
    await consent.set_channel(thread.id, True)
    assert await consent.trainable(thread)
    # Known again without its parent, as from an interaction: the parent stays known.
    assert (await seen(database, "discord:3", "thread", "discord:9")).parent_key == channel.key


async def test_a_thread_of_an_unknown_channel_stays_out(database: Database) -> None:
    await database.consent.set_server("discord:9", True, by=ADMIN)
    old = await seen(database, "discord:3", "thread", "discord:9")
    assert not await database.consent.trainable(old)
    await database.consent.set_channel(old.id, True)
    assert await database.consent.trainable(old)
    await database.consent.set_channel(old.id, None)
    # Its channel is known by now, though nobody ever spoke there.
    found = await seen(database, "discord:3", "thread", "discord:9", "discord:4")
    assert await database.consent.trainable(found)


async def test_a_terminal_agrees_unless_told_otherwise(database: Database) -> None:
    terminal = await seen(database, "terminal:main", "terminal")
    assert await database.consent.trainable(terminal)
    await database.consent.set_server("terminal:main", False, by="terminal:user")
    assert not await database.consent.trainable(terminal)
    await database.consent.set_server("terminal:main", True, by="terminal:user")
    await database.consent.set_channel(terminal.id, False)
    assert not await database.consent.trainable(terminal)


async def test_a_direct_message_needs_its_persons_own_word(database: Database) -> None:
    direct = await seen(database, "discord:5", "dm")
    await database.consent.set_author(ANN, True)  # said somewhere else
    assert not await database.consent.trainable(direct)
    await database.consent.set_server(direct.key, True, by=ANN)
    assert await database.consent.trainable(direct)


async def test_opting_out_takes_back_direct_messages_and_not_what_was_said_for_servers(
    database: Database, channel: Channel
) -> None:
    consent = database.consent
    direct = await seen(database, "discord:5", "dm")
    of_another = await seen(database, "discord:6", "dm")
    await consent.set_server(direct.key, True, by=ANN)
    await consent.set_server(of_another.key, True, by="discord:8")
    await consent.set_server("discord:9", True, by=ANN)
    await consent.set_author(ANN, False)
    assert not await consent.trainable(direct)
    assert await consent.trainable(of_another)
    assert await consent.trainable(channel)
    await consent.set_author(ANN, True)
    assert not await consent.trainable(direct)


async def test_a_person_is_opted_out_until_they_take_it_back(database: Database) -> None:
    consent = database.consent
    assert await consent.author(ANN) is None
    assert await consent.opted_out() == frozenset()
    await consent.set_author(ANN, False)
    await consent.set_author("discord:8", True)
    assert await consent.author(ANN) is False
    assert await consent.opted_out() == {ANN}
    await database.privacy.forget_author(ANN)
    assert await consent.opted_out() == {ANN}
    await consent.set_author(ANN, True)
    assert await consent.opted_out() == frozenset()


async def test_unknown_channels(database: Database, channel: Channel) -> None:
    for attempt in (database.consent.set_channel(99, True), database.consent.channel(99)):
        with pytest.raises(DatabaseError, match="no channel with the id 99"):
            await attempt
    gone = Channel(99, "discord:99", None, "gone", "terminal", None, None, None, {}, 0)
    assert not await database.consent.trainable(gone)


@pytest.mark.parametrize("key", ["nul\0inside", "lone \ud83d surrogate", "'; --", "", "漢字 🎭"])
async def test_any_key_is_held_apart_from_others(database: Database, key: str) -> None:
    consent = database.consent
    await consent.set_author(key, False)
    await consent.set_server(key, True, by=key)
    assert await consent.author(key) is False
    assert await consent.server(key) is True
    assert await consent.author(f"{key}!") is None
    assert await consent.author("nul") is None
    [refused] = await consent.opted_out()
    assert refused == key.replace("\ud83d", "\ufffd")


async def test_a_no_is_never_overheard(database: Database) -> None:
    """Whatever else was said: without the server's yes nothing, and against a no nothing."""
    said = (None, True, False)
    kinds: tuple[ChannelKind, ...] = ("guild", "thread", "dm", "terminal")
    for number, case in enumerate(itertools.product(kinds, said, said, said)):
        kind, server, parent, own = case
        in_server = kind in ("guild", "thread")
        guild = f"discord:{number}:guild"
        above = await seen(database, f"discord:{number}:above", "guild", guild)
        place = await seen(
            database,
            f"discord:{number}",
            kind,
            guild if in_server else None,
            above.key if kind == "thread" else None,
        )
        if server is not None:
            key = guild if in_server else place.key
            await database.consent.set_server(key, server, by=ADMIN)
        await database.consent.set_channel(above.id, parent)
        await database.consent.set_channel(place.id, own)
        expected = server is True or (server is None and kind == "terminal")
        expected &= own is not False
        expected &= not (kind == "thread" and parent is False and own is None)
        assert await database.consent.trainable(place) is expected, case
