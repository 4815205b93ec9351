"""Lorebooks that were brought into a channel."""

from __future__ import annotations

import pytest

from db import lore_books
from db.channels import Channel
from db.connection import DatabaseError
from db.database import Database


async def test_a_book_is_the_channel_s_alone(database: Database, channel: Channel) -> None:
    books = database.lore_books
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    town = await books.add(channel, "town", '{"entries": []}', by="discord:7", at=1.0)
    assert (town.name, town.revision, town.written_by) == ("town", 0, "discord:7")
    assert await books.of(channel) == [town]
    assert await books.named(channel, "town") == town
    assert await books.text(town) == '{"entries": []}'
    assert await books.of(other) == []
    for attempt in (
        lambda: books.named(other, "town"),
        lambda: books.remove(other, "town"),
    ):
        with pytest.raises(DatabaseError, match="no lorebook 'town' here"):
            await attempt()
    with pytest.raises(DatabaseError, match="at the same moment"):
        await books.change(other, town, "{}")
    await books.add(other, "town", "{}", by="discord:7", at=1.0)
    await books.remove(channel, "town")
    assert await books.of(channel) == []
    assert await books.text(town) is None
    assert len(await books.of(other)) == 1


async def test_a_change_makes_another_revision(database: Database, channel: Channel) -> None:
    books = database.lore_books
    town = await books.add(channel, "town", "[1]", by="discord:7", at=1.0)
    await books.change(channel, town, "[2]")
    [changed] = await books.of(channel)
    assert (changed.id, changed.revision) == (town.id, 1)
    assert await books.text(changed) == "[2]"
    with pytest.raises(DatabaseError, match="at the same moment"):
        await books.change(channel, town, "[3]")
    assert await books.text(changed) == "[2]"


async def test_a_channel_holds_so_many(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lore_books, "MOST_BOOKS", 2)
    monkeypatch.setattr(lore_books, "MOST_CHARACTERS", 20)
    books = database.lore_books
    await books.add(channel, "town", "x" * 15, by="a", at=1.0)
    with pytest.raises(DatabaseError, match="a lorebook town already"):
        await books.add(channel, "town", "x", by="a", at=1.0)
    with pytest.raises(DatabaseError, match="characters together"):
        await books.add(channel, "sea", "x" * 6, by="a", at=1.0)
    await books.add(channel, "sea", "x" * 5, by="a", at=1.0)
    with pytest.raises(DatabaseError, match="2 lorebooks, which is the most"):
        await books.add(channel, "sky", "", by="a", at=1.0)
    assert [book.name for book in await books.of(channel)] == ["town", "sea"]


async def test_a_deleted_channel_takes_its_books_along(
    database: Database, channel: Channel
) -> None:
    town = await database.lore_books.add(channel, "town", "{}", by="a", at=1.0)
    async with database.transaction() as connection:
        await connection.execute_fetchall("DELETE FROM channels WHERE id = ?", (channel.id,))
    assert await database.lore_books.text(town) is None
