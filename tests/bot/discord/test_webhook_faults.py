"""Webhooks that vanish, and posts whose answer is lost: nothing is lost or said twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.bot.discord.conftest import Town
from tests.bot.discord.webhook_posts import (
    NAME,
    WEBHOOK,
    WEBHOOK_MESSAGE,
    answered,
    remembered_posts,
)
from tests.bot.scripted import Script, words


@pytest.fixture
def webhooks() -> bool:
    return True


async def test_a_webhook_deleted_under_us_is_made_again(town: Town) -> None:
    async with town.bot() as running:
        await answered(town, running)
        town.general.delete_webhooks()
        post = await answered(town, running)
        [webhook] = town.general.webhooks
        assert post.webhook_id == webhook.id


async def test_a_webhook_deleted_in_mid_reply_loses_nothing(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        running.client.scripts.append(words("half a reply and more", gate=gate, gate_at=2))
        asked = await town.ask("hi")
        first = await town.general.wait_message(by=NAME, after=asked)
        town.general.delete_webhooks()
        gate.set()
        second = await town.general.wait_message(
            by=NAME, after=first, where=lambda m: m.content == "half a reply and more"
        )
        await running.settled()
        await town.general.wait_deleted(first)
        assert await running.remembered(town.general) == [
            ("user", "hi"),
            ("character", "half a reply and more"),
        ]
        assert await remembered_posts(running, second) == (second.id,)


async def test_rate_limits_and_server_errors_are_waited_for(town: Town) -> None:
    async with town.bot() as running:
        limit = town.server.faults.rate_limit("POST", WEBHOOK, retry_after=0.2)
        edits = town.server.faults.rate_limit("PATCH", WEBHOOK_MESSAGE, retry_after=0.2)
        failure = town.server.faults.fail("PATCH", WEBHOOK_MESSAGE, status=503)
        running.client.scripts.append(words("a reply in several edits", pause=0.6))
        post = await answered(town, running)
        assert (limit.hits, edits.hits, failure.hits) == (1, 1, 1)
        assert post.content == "a reply in several edits"
        assert len(town.general.by(NAME)) == 1


async def test_a_post_whose_answer_was_lost_is_not_made_twice(town: Town) -> None:
    async with town.bot() as running:
        await answered(town, running, "first")
        lost = town.server.faults.drop_before_response("POST", WEBHOOK)
        post = await answered(town, running, "second")
        assert lost.hits == 1
        assert len(town.general.by(NAME)) == 2
        assert await remembered_posts(running, post) == (post.id,)


async def test_a_post_that_a_crash_kept_from_being_stored_is_found_again(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        await answered(town, running, "first")
        running.client.scripts.append(words("half a reply", gate=gate, gate_at=2))
        asked = await town.ask("second")
        post = await town.general.wait_message(by=NAME, after=asked)
        await running.behind.turns.close()
        database = running.behind.database
        async with database.transaction() as connection:  # as if it had never been stored
            await connection.execute_fetchall("DELETE FROM posts WHERE post_id = ?", (post.id,))
    async with town.bot() as running:
        await town.general.wait_content(post, "You said: Alice: second")
        await running.settled()
        assert len(town.general.by(NAME)) == 2
        assert await remembered_posts(running, post) == (post.id,)


async def test_a_reply_whose_webhook_is_gone_is_posted_anew_when_it_changes(town: Town) -> None:
    async with town.bot() as running:
        first = await answered(town, running)
    town.general.delete_webhooks()
    async with town.bot() as running:
        running.client.scripts.append(Script(["Second."]))
        await town.alice.slash(town.general, "regenerate")
        second = await town.general.wait_message(by=NAME, after=first, containing="Second.")
        await town.general.wait_deleted(first)
        await running.settled()
        assert await remembered_posts(running, second) == (second.id,)
        assert await running.remembered(town.general) == [
            ("user", "hi"),
            ("character", "Second."),
        ]


async def test_a_post_whose_answer_was_lost_is_found_also_when_its_reply_has_grown(
    town: Town,
) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        lost = town.server.faults.drop_before_response("POST", WEBHOOK)
        running.client.scripts.append(words("half a reply and more", gate=gate, gate_at=2))
        asked = await town.ask("hi")
        post = await town.general.wait_message(by=NAME, after=asked)
        assert post.content == "half a"
        gate.set()
        await town.general.wait_content(post, "half a reply and more")
        await running.settled()
        assert lost.hits == 1
        assert len(town.general.by(NAME)) == 1
        assert await remembered_posts(running, post) == (post.id,)


async def test_a_failed_look_for_a_post_is_made_again(town: Town) -> None:
    async with town.bot() as running:
        lost = town.server.faults.drop_before_response("POST", WEBHOOK)
        failed = town.server.faults.fail("GET", "/channels/{id}/messages", status=503)
        post = await answered(town, running)
        assert (lost.hits, failed.hits) == (1, 1)
        assert len(town.general.by(NAME)) == 1
        assert await remembered_posts(running, post) == (post.id,)
