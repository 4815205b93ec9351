"""The statements that run for every message use an index and sort nothing, at any size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from db.channels import Channel
from db.database import Database

Query = Callable[[Database, Channel], Awaitable[object]]


async def vote(database: Database, channel: Channel) -> None:
    await database.feedback.vote(1, voter_key="a", liked=True, created_at=1.0)
    await database.feedback.vote(1, voter_key="a", liked=None, created_at=2.0)


async def add_and_choose(database: Database, channel: Channel) -> None:
    reply = await database.messages.add_said(
        channel.id, persona="p", persona_name="P", content="one", created_at=1.0
    )
    other = await database.feedback.add_variant(
        reply.id, "two", adapter=None, sampling=None, finish_reason=None, created_at=2.0
    )
    await database.feedback.choose(other.id)


async def all_scenes(database: Database, channel: Channel) -> list[object]:
    return [scene async for scene in database.messages.scenes(channel.id)]


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
            lambda d, c: d.vectors.nearest(c.id, bytes(384), after=1, before=9, limit=3),
            "messages_in_place (channel_id=? AND place>? AND place<?)",
        ),
        (lambda d, c: d.vectors.due(8), "m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
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
        (lambda d, c: d.privacy.forget_author("a"), "messages_by_author (author_key=? AND role"),
        (lambda d, c: d.privacy.forget_author("a"), "votes_by_person (voter_key=?)"),
        (lambda d, c: d.privacy.forget_author("a"), "server_consent_by_person (decided_by=?)"),
        (lambda d, c: d.privacy.forget_author("a"), "facts_by_person (author_key=?)"),
        (lambda d, c: d.privacy.forget_author("a"), "author_notes_by_person (written_by=?)"),
        (lambda d, c: d.privacy.forget_author("a"), "lore_by_person (written_by=?)"),
        (lambda d, c: d.privacy.forget_author("a"), "summaries_by_person (fixed_by=?)"),
        (lambda d, c: d.summaries.of(c, "p"), "summaries USING PRIMARY KEY"),
        (lambda d, c: d.direction.lore(c), "lore_in_channel (channel_id=?)"),
        (lambda d, c: d.direction.note(c, "p"), "author_notes USING PRIMARY KEY"),
        (lambda d, c: d.lore_books.of(c), "lore_books USING INDEX"),
        (lambda d, c: d.privacy.forget_author("a"), "lore_books_by_person (written_by=?)"),
        (lambda d, c: d.privacy.export_author("a"), "messages_by_author (author_key=? AND role"),
        (lambda d, c: d.privacy.export_author("a"), "votes_by_person (voter_key=?)"),
        (lambda d, c: d.privacy.held_of("a"), "COVERING INDEX messages_by_author (author_key=?"),
        (lambda d, c: d.privacy.held_of("a"), "COVERING INDEX votes_by_person (voter_key=?)"),
        (lambda d, c: d.consent.trainable(c), "said USING PRIMARY KEY (guild_key=?)"),
        (lambda d, c: d.consent.trainable(c), "parent USING INDEX"),
        (lambda d, c: d.consent.author("a"), "author_consent USING PRIMARY KEY"),
        (lambda d, c: d.consent.set_author("a", False), "server_consent_by_person (decided_by=?)"),
        (lambda d, c: d.feedback.variants(5), "variants_of_message (message_id=?)"),
        (lambda d, c: d.feedback.of_channel(c.id), "variants_in_channel (channel_id=?)"),
        (lambda d, c: d.feedback.votes(c.id), "votes_in_channel (channel_id=?)"),
        (lambda d, c: d.feedback.votes(c.id), "variants_chosen (message_id=?)"),
        (lambda d, c: d.feedback.votes_cast(c.id), "votes_in_channel (channel_id=?)"),
        (lambda d, c: d.rewriting.newest_reply(c), "messages_in_place (channel_id=? AND place>?)"),
        (lambda d, c: d.rewriting.interrupted(c.id), "messages_streaming (channel_id=?)"),
        (lambda d, c: d.rewriting.standing(5), "variants_of_message (message_id=?)"),
        (
            lambda d, c: d.rewriting.vote_of(5, "a"),
            "v USING PRIMARY KEY (message_id=? AND voter_key=?)",
        ),
        (lambda d, c: d.speech.newest(c.id), "messages_of_characters (channel_id=?)"),
        (lambda d, c: d.speech.replies_to(5), "messages_by_reply_to (reply_to=?)"),
        (lambda d, c: d.speech.scene_began(c), "messages_in_place (channel_id=? AND place>?)"),
        (
            lambda d, c: d.speech.replies_before(c, "p", 5),
            "messages_by_persona (channel_id=? AND persona=? AND place>? AND place<?)",
        ),
        (lambda d, c: d.lore_matches.before(c, "p", 5), "lore_matches USING PRIMARY KEY"),
        (
            lambda d, c: d.recall.last_before(c.id, "p", 5),
            "messages_by_persona (channel_id=? AND persona=? AND place<?)",
        ),
        (lambda d, c: d.card_homes.home("p"), "card_homes USING PRIMARY KEY (persona=?)"),
        (lambda d, c: d.card_homes.count("g"), "card_homes_by_home (home_key=?)"),
        (
            lambda d, c: d.channels.add_member(c.id, "p", None),
            "messages_in_place (channel_id=?",
        ),
        (lambda d, c: d.unlogged.reasons(c, "a"), "unlogged USING PRIMARY KEY (scope=? AND key=?)"),
        (lambda d, c: d.unlogged.let_go(5), "messages_passing (answers=?)"),
        (lambda d, c: d.unlogged.showed(5), "passed_posts USING INTEGER PRIMARY KEY"),
        (
            lambda d, c: d.blocks.remove("g", "a"),
            "blocks USING PRIMARY KEY (guild_key=? AND author_key=?)",
        ),
        (lambda d, c: d.blocks.of("g"), "blocks USING PRIMARY KEY (guild_key=?)"),
        (lambda d, c: d.blocks.anywhere("a"), "blocks_by_person (author_key=?)"),
        (vote, "votes USING PRIMARY KEY (message_id=? AND voter_key=?"),
        (add_and_choose, "variants_chosen (message_id=?)"),
        (all_scenes, "messages_in_place (channel_id=? AND place>? AND place<?)"),
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
    # FTS5 reads its own settings, a row or two.
    plans = [step for step in plans if step != "SCAN main.recall_config"]
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
            ("variants", "message_id"),
            ("variants", "channel_id"),
            ("votes", "message_id"),
            ("votes", "channel_id"),
            ("votes", "variant_id"),
            ("scenes", "channel_id"),
            ("summaries", "channel_id"),
            ("facts", "channel_id"),
            ("facts", "message_id"),
            ("author_notes", "channel_id"),
            ("lore", "channel_id"),
            ("lore_books", "channel_id"),
            ("lore_matches", "channel_id"),
            ("lore_matches", "message_id"),
            ("recall_due", "message_id"),
        ):
            [step] = await connection.execute_fetchall(
                f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = 1"
            )
            assert step["detail"].startswith("SEARCH"), step["detail"]
