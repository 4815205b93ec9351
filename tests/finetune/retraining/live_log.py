"""What people and a character said through some version of an adapter, written into a database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from config import Config
from db.database import Database

APART = 10.0  # seconds
INTRODUCES = "I'm Captain Mirela Vex, and the tide is high."
PLAIN = "The tide is high, so we sail."


def log_replies(
    config: Config,
    label: str,
    replies: Sequence[str],
    *,
    at: float,
    channel: str = "terminal:main",
    question: str = "What now?",
    votes: Iterable[bool] = (),
) -> None:
    """One dialogue from `at` on; the first replies get a vote each, of another person each."""
    asyncio.run(_log(config, label, replies, at, channel, question, list(votes)))


def counted(introductions: int, others: int) -> list[str]:
    """A dialogue in which so many replies are counted; its first is not."""
    return [PLAIN, *[INTRODUCES] * introductions, *[PLAIN] * others]


async def _log(
    config: Config,
    label: str,
    replies: Sequence[str],
    at: float,
    key: str,
    question: str,
    votes: list[bool],
) -> None:
    async with await Database.open(config.database_file) as database:
        channel = await database.channels.seen(key, guild_key=None, name=key, kind="terminal")
        async with database.transaction():
            for number, reply in enumerate(replies):
                moment = at + APART * number
                asked = await database.messages.add_user(
                    channel.id,
                    author_key="ann",
                    author_name="Ann",
                    content=question,
                    created_at=moment,
                    owed=True,
                )
                with pytest.MonkeyPatch.context() as patch:  # a reply is dated when it begins
                    patch.setattr("db.messages.time.time", lambda moment=moment: moment)
                    written = await database.messages.begin_reply(
                        channel.id,
                        question=asked.id,
                        persona="mirela",
                        persona_name="Captain Mirela Vex",
                        adapter=label,
                        sampling={},
                    )
                await database.messages.finish_reply(
                    written.id, reply, finish_reason="stop", adapter=label
                )
                if number < len(votes):
                    await database.feedback.vote(
                        written.id,
                        voter_key=f"voter{number}",
                        liked=votes[number],
                        created_at=moment,
                    )
