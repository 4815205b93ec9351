"""A fresh database file with one channel, and short ways to fill it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database
from db.messages import Message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "troupe.sqlite3"


@pytest.fixture
async def database(file: Path) -> AsyncIterator[Database]:
    async with await Database.open(file, busy_timeout_seconds=0.2) as database:
        yield database


@pytest.fixture
async def channel(database: Database) -> Channel:
    return await database.channels.seen(
        "discord:1", guild_key="discord:9", name="tavern", kind="guild"
    )


async def ask(
    database: Database,
    channel: Channel,
    content: str = "Hello?",
    *,
    author: str = "discord:7",
    post_id: int | None = None,
    created_at: float = 1000.0,
    reply_to: int | None = None,
    owed: bool = True,
) -> Message:
    return await database.messages.add_user(
        channel.id,
        author_key=author,
        author_name="Ann",
        content=content,
        created_at=created_at,
        post_id=post_id,
        reply_to=reply_to,
        owed=owed,
    )


async def begin(database: Database, channel: Channel, question: int | None) -> Message:
    return await database.messages.begin_reply(
        channel.id,
        question=question,
        persona="mirela",
        persona_name="Mirela",
        adapter="default",
        sampling={"temperature": 0.5, "stop": ["\n"]},
    )


async def answer(database: Database, channel: Channel, question: int, content: str) -> Message:
    reply = await begin(database, channel, question)
    await database.messages.finish_reply(
        reply.id, content, finish_reason="stop", adapter="default@1"
    )
    finished = await database.messages.get(reply.id)
    assert finished is not None
    return finished


def texts(messages: list[Message]) -> list[str]:
    return [message.content for message in messages]
