"""Coroutines share one connection and never see or lose each other's work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from tests.db.conftest import ask, begin, texts


async def test_statements_of_others_wait_and_survive_a_rollback(
    database: Database, channel: Channel
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        async with database.transaction():
            await ask(database, channel, "never said")
            inside.set()
            await go_on.wait()
            raise ValueError("changed my mind")

    failing = asyncio.create_task(fails())
    await inside.wait()
    writer = asyncio.create_task(ask(database, channel, "said"))
    reader = asyncio.create_task(database.messages.history(channel, limit=10))
    await asyncio.sleep(0)  # both have asked for their turn
    go_on.set()
    with pytest.raises(ValueError, match="changed my mind"):
        await failing
    await writer
    assert "never said" not in texts(await reader)
    assert texts(await database.messages.history(channel, limit=10)) == ["said"]


async def test_many_writers_at_once(database: Database, channel: Channel) -> None:
    await asyncio.gather(*(ask(database, channel, f"{n}", post_id=n % 20 + 1) for n in range(60)))
    assert await database.messages.count(channel.id) == 20


async def test_two_databases_on_one_file_write_at_once(
    database: Database, channel: Channel, file: Path
) -> None:
    async with (
        await Database.open(file, busy_timeout_seconds=30) as one,
        await Database.open(file, busy_timeout_seconds=30) as other,
    ):
        await asyncio.gather(
            *(
                ask(where, channel, f"{number}", post_id=number + 1)
                for number in range(20)
                for where in (one, other)
            )
        )
    assert await database.messages.count(channel.id) == 20


async def test_an_inner_step_that_fails_is_undone_alone(
    database: Database, channel: Channel
) -> None:
    async def second_then_failure() -> None:
        async with database.transaction():
            await ask(database, channel, "second")
            await ask(database, replace(channel, id=999))

    async with database.transaction():
        await ask(database, channel, "first")
        with pytest.raises(DatabaseError, match="FOREIGN KEY"):
            await second_then_failure()
        await ask(database, channel, "third")
        assert texts(await database.messages.history(channel, limit=9)) == ["first", "third"]
    assert texts(await database.messages.history(channel, limit=9)) == ["first", "third"]


async def test_closing_waits_for_the_transaction_under_way(
    database: Database, channel: Channel, file: Path
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with database.transaction():
            inside.set()
            await go_on.wait()
            await ask(database, channel, "in time")

    writing = asyncio.create_task(slow())
    await inside.wait()
    closing = asyncio.create_task(database.close())
    go_on.set()
    await writing
    await closing
    async with await Database.open(file) as again:
        assert texts(await again.messages.history(channel, limit=9)) == ["in time"]


async def test_a_cancelled_coroutine_rolls_back(database: Database, channel: Channel) -> None:
    inside = asyncio.Event()

    async def never_ends() -> None:
        async with database.transaction():
            await ask(database, channel, "never said")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.messages.count(channel.id) == 0
    await ask(database, channel)
    assert await database.messages.count(channel.id) == 1


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_cancelled_at_any_statement_it_is_all_or_nothing(
    database: Database, channel: Channel, cancellations: int
) -> None:
    async def turn(post_id: int) -> None:
        async with database.transaction():
            question = await ask(database, channel, "q", post_id=post_id)
            reply = await begin(database, channel, question.id)
            await database.messages.posted(reply.id, post_id + 1, 0)
            await database.messages.finish_reply(
                reply.id, "a", finish_reason="stop", adapter="base"
            )

    loop = asyncio.get_running_loop()
    outcomes = set()
    for at_statement in range(1, 60):
        post_id = 10 * at_statement
        task = asyncio.create_task(turn(post_id))
        statements = itertools.count(1)

        def cancel(
            statement: str,
            task: asyncio.Task[None] = task,
            first: int = at_statement,
            statements: Iterator[int] = statements,
        ) -> None:  # called in SQLite's thread, while the statement runs
            if first <= next(statements) < first + cancellations:
                loop.call_soon_threadsafe(task.cancel)

        await trace(database, cancel)
        await asyncio.wait({task})
        await trace(database, lambda statement: None)
        question = await database.messages.by_post(post_id)
        reply = await database.messages.by_post(post_id + 1)
        assert (question is None) == (reply is None)
        assert question is None or question.answer == "answered"
        assert task.cancelled() or question is not None
        outcomes.add((task.cancelled(), question is not None))
    assert {(True, False), (False, True)} <= outcomes


async def trace(database: Database, callback: Callable[[str], None]) -> None:
    async with database.transaction() as connection:
        await connection.set_trace_callback(callback)
