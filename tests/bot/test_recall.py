"""How near an older message is to a question."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.recall import query_words, rank, recall
from db.channels import Channel
from db.database import Database
from db.recall import Hits
from tests.db.conftest import answer, ask


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "troupe.sqlite3") as opened:
        yield opened


@pytest.fixture
async def channel(database: Database) -> Channel:
    return await database.channels.seen("c:1", guild_key=None, name="here", kind="guild")


def test_a_question_is_searched_by_what_it_is_about() -> None:
    assert query_words("Do you still have the silver compass of my grandfather?") == [
        "still", "silver", "compass", "grandfather",
    ]  # fmt: skip
    assert query_words("Who are you?") == []


def test_rare_words_count_more_and_unknown_ones_count_most() -> None:
    hits = Hits(100, {"ship": tuple(range(60, 0, -1)), "compass": (7, 3), "glacier": ()})
    [first, second, *others] = rank(hits, ["ship", "compass"])
    assert (first[0], second[0]) == (7, 3)
    assert first[1] == pytest.approx(1.0)
    assert first[2] == ("ship", "compass")
    assert all(relevance < 0.3 for _, relevance, _ in others)
    unknown = rank(hits, ["ship", "compass", "glacier"])
    assert unknown[0][1] < 0.6


async def found(database: Database, channel: Channel, question: str, **more: object) -> list[str]:
    while await database.recall.catch_up():
        pass
    bounds: dict[str, object] = {"after": 0, "before": 10**6, "threshold": 0.5, "most": 3}
    recalled = await recall(database.recall, channel.id, question, **{**bounds, **more})  # type: ignore[arg-type]
    return [moment.message.content for moment in recalled.moments]


async def test_only_what_answers_is_found(database: Database, channel: Channel) -> None:
    question = await ask(database, channel, "Where is the silver compass?")
    await answer(database, channel, question.id, "The silver compass lies in the chest.")
    await ask(database, channel, "I lost a silver spoon.")
    for number in range(20):
        await ask(database, channel, f"The ship sails {number}.")
    elsewhere = "Did glaciers swallow volcanoes, or the silver compass?"
    assert await found(database, channel, elsewhere) == []
    assert await found(database, channel, "The silver compass, where?") == [
        "The silver compass lies in the chest."
    ]
    assert await found(database, channel, "What of ships?") == []  # too many speak of ships


async def test_the_best_ones_come_in_their_order_and_each_text_once(
    database: Database,
    channel: Channel,
) -> None:
    for text in ("A red kite.", "A red kite.", "The red kite fell.", "A kite of red silk."):
        await ask(database, channel, text)
    for number in range(30):
        await ask(database, channel, f"Nothing {number}.")
    assert await found(database, channel, "A red kite?", most=2) == [
        "The red kite fell.", "A kite of red silk.",
    ]  # fmt: skip
    assert await found(database, channel, "A red kite?", before=3) == ["A red kite."]
