"""The statements that run for every message use an index and sort nothing, at any size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from db.channels import Channel
from db.database import Database

Query = Callable[[Database, Channel], Awaitable[object]]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (lambda d, c: d.messages.history(c, limit=50), "messages_in_place (channel_id=? AND place"),
        (
            lambda d, c: d.messages.history(c, limit=50, up_to=7),
            "messages_in_place (channel_id=? AND place>? AND place<?)",
        ),
        (lambda d, c: d.messages.owed(since=5.0), "messages_owed (created_at>?)"),
        (
            lambda d, c: d.messages.owed(c.id, since=5.0),
            "messages_owed_in_channel (channel_id=? AND created_at>?)",
        ),
        (lambda d, c: d.messages.by_post(5), "posts USING INTEGER PRIMARY KEY"),
        (lambda d, c: d.messages.get(5), "m USING INTEGER PRIMARY KEY"),
        (lambda d, c: d.messages.newest_post(c.id), "channels USING INTEGER PRIMARY KEY"),
        (lambda d, c: d.channels.get("a:1"), "channels USING INDEX"),
        (lambda d, c: d.messages.delete_post(5), "posts USING INTEGER PRIMARY KEY"),
        (
            lambda d, c: d.messages.begin_reply(
                c.id, question=1, persona="p", persona_name="P", adapter="a", sampling={}
            ),
            "messages_by_reply_to (reply_to=?)",
        ),
        (lambda d, c: d.privacy.forget_author("a"), "messages_by_author (author_key=?)"),
        (lambda d, c: d.privacy.export_author("a"), "messages_by_author (author_key=?)"),
    ],
)
async def test_uses_an_index(
    database: Database, channel: Channel, query: Query, index: str
) -> None:
    ran: list[str] = []
    async with database.transaction() as connection:
        await connection.set_trace_callback(ran.append)
    await query(database, channel)
    async with database.transaction() as connection:
        await connection.set_trace_callback(lambda statement: None)
        plans = [
            row["detail"]
            for statement in ran
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT")
            for row in await connection.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}")
        ]
    assert any(index in step for step in plans), plans
    assert not [step for step in plans if step.startswith("SCAN") and "CONSTANT" not in step], plans
    assert not [step for step in plans if "TEMP B-TREE" in step], plans


async def test_foreign_keys_are_followed_through_indices(database: Database) -> None:
    """Deleting a row must not search whole tables for what refers to it."""
    async with database.transaction() as connection:
        for table, column in (
            ("messages", "reply_to"),
            ("messages", "channel_id"),
            ("posts", "message_id"),
        ):
            [step] = await connection.execute_fetchall(
                f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = 1"
            )
            assert step["detail"].startswith("SEARCH"), step["detail"]
