"""Vectors belong to their messages, and never lead out of a channel."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database
from db.vectors import MOST_COMPARED
from tests.db.conftest import answer, ask, begin

DIMENSIONS = 384


def towards(**parts: int) -> bytes:
    """A vector of length 127 whose directions are given by letters: a=3, b=4."""
    length = sum(part * part for part in parts.values()) ** 0.5
    vector = [0] * DIMENSIONS
    for letter, part in parts.items():
        vector[ord(letter) - ord("a")] = round(127 * part / length)
    return bytes(number % 256 for number in vector)


async def keep(database: Database, vectors: dict[str, bytes]) -> None:
    """Give each message that lacks a vector the one of its text."""
    while due := await database.vectors.due(3):
        texts = dict(due)
        await database.vectors.add(texts, {key: vectors[text] for key, text in due})


async def nearest(
    database: Database, channel: Channel, *, after: int = 0, before: int = 10**6, limit: int = 5
) -> list[tuple[int, float]]:
    found = await database.vectors.nearest(
        channel.id, towards(a=1), after=after, before=before, limit=limit
    )
    return [(key, round(cosine, 2)) for key, cosine in found]


TEXTS = {"same": towards(a=1), "near": towards(a=4, b=3), "far": towards(c=1)}


@pytest.fixture(params=["numpy", "sqlite-vec"])
async def database(file: Path, request: pytest.FixtureRequest) -> object:
    async with await Database.open(file) as opened:
        if request.param == "numpy":
            opened.vectors._in_sqlite = False
        elif not await opened.vectors._load_extension():
            pytest.skip("sqlite-vec is not installed, or this Python's SQLite takes no extensions")
        yield opened


async def test_the_nearest_first(database: Database, channel: Channel) -> None:
    ids = {text: (await ask(database, channel, text)).id for text in ("far", "near", "same")}
    await keep(database, TEXTS)
    assert await nearest(database, channel) == [
        (ids["same"], 1.0), (ids["near"], 0.8), (ids["far"], 0.0),
    ]  # fmt: skip
    assert await nearest(database, channel, limit=1) == [(ids["same"], 1.0)]
    assert await nearest(database, channel, before=ids["same"]) == [
        (ids["near"], 0.8), (ids["far"], 0.0),
    ]  # fmt: skip
    assert await nearest(database, channel, after=ids["near"]) == [(ids["same"], 1.0)]


async def test_never_of_another_channel(database: Database, channel: Channel) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="other", kind="guild")
    await ask(database, other, "same")
    mine = await ask(database, channel, "near")
    await keep(database, TEXTS)
    assert await nearest(database, channel) == [(mine.id, 0.8)]


async def test_an_empty_stretch(database: Database, channel: Channel) -> None:
    assert await nearest(database, channel) == []


async def test_both_ways_agree(file: Path, database: Database, channel: Channel) -> None:
    chance = random.Random(3)
    vectors = {f"{n}": bytes(chance.randrange(256) for _ in range(DIMENSIONS)) for n in range(40)}
    for text in vectors:
        await ask(database, channel, text)
    await keep(database, vectors)
    asked = vectors["7"]
    bounds = {"after": 0, "before": 10**6, "limit": 40}
    one = await database.vectors.nearest(channel.id, asked, **bounds)
    database.vectors._in_sqlite = False
    two = await database.vectors.nearest(channel.id, asked, **bounds)
    assert [key for key, _ in one] == [key for key, _ in two]
    assert [cosine for _, cosine in one] == pytest.approx([cosine for _, cosine in two], abs=1e-5)


async def test_a_vector_goes_with_its_message(database: Database, channel: Channel) -> None:
    for number, text in enumerate(TEXTS):
        await ask(database, channel, text, post_id=number, author=f"discord:{number}")
    await keep(database, TEXTS)
    await database.messages.delete_post(0)
    assert [cosine for _, cosine in await nearest(database, channel)] == [0.8, 0.0]
    await database.privacy.forget_author("discord:1")
    assert [cosine for _, cosine in await nearest(database, channel)] == [0.0]
    async with database.transaction() as connection:
        [row] = await connection.execute_fetchall("SELECT count(*) FROM embeddings")
    assert row[0] == 1


async def test_what_is_forgotten_is_in_no_file(
    file: Path, database: Database, channel: Channel
) -> None:
    vector = bytes(range(1, 128)) * 3 + b"\x01\x02\x03"
    await ask(database, channel, "secret", author="discord:5")
    await keep(database, {"secret": vector})
    await database.privacy.forget_author("discord:5")
    for part in file.parent.iterdir():
        assert vector[:64] not in part.read_bytes(), part


async def test_other_words_have_another_vector(database: Database, channel: Channel) -> None:
    await ask(database, channel, "far", post_id=1)
    await keep(database, TEXTS)
    await database.messages.edit(1, "same", 5.0)
    assert await nearest(database, channel) == []
    await keep(database, TEXTS)
    assert [cosine for _, cosine in await nearest(database, channel)] == [1.0]


async def test_what_changed_meanwhile_is_not_kept(database: Database, channel: Channel) -> None:
    message = await ask(database, channel, "far", post_id=1)
    await database.vectors.due(5)
    await database.messages.edit(1, "same", 5.0)
    await database.vectors.add({message.id: "far"}, {message.id: TEXTS["far"]})
    assert await nearest(database, channel) == []
    assert await database.vectors.due(5) == [(message.id, "same")]


async def test_a_reply_is_due_once_it_is_complete(database: Database, channel: Channel) -> None:
    question = await ask(database, channel, "far")
    streaming = await begin(database, channel, question.id)
    later = await ask(database, channel, "near")
    await keep(database, TEXTS)
    await answer(database, channel, later.id, "same")
    await database.messages.finish_reply(streaming.id, "near", finish_reason="stop", adapter="a")
    due = await database.vectors.due(5)
    assert sorted(text for _, text in due) == ["near", "same"]


async def test_only_the_newest_are_compared(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_COMPARED >= 1000
    monkeypatch.setattr("db.vectors.MOST_COMPARED", 2)
    for text in ("same", "near", "far"):
        await ask(database, channel, text)
    await keep(database, TEXTS)
    assert [cosine for _, cosine in await nearest(database, channel)] == [0.8, 0.0]


async def test_all_of_a_long_past_is_looked_through(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.vectors._LOOKED_THROUGH", 4)
    monkeypatch.setattr("db.vectors._LOOKED_BACK", 2)
    for _ in range(15):
        await ask(database, channel, "near")
    await keep(database, TEXTS)
    assert len(await nearest(database, channel, limit=20)) == 15
    await ask(database, channel, "same")
    await keep(database, TEXTS)
    assert len(await nearest(database, channel, limit=20)) == 16
