"""The log counted by version: what introduces its speaker, and what people think of it."""

from __future__ import annotations

import asyncio
import time

from config import Config
from db.database import Database
from finetune.retraining.live_rates import LiveRates, live_rates
from persona_prompts.cast import SHIPPED, Cast
from tests.conftest import MakeConfig
from tests.finetune.retraining.live_log import INTRODUCES, PLAIN, counted, log_replies

NOW = time.time()
DAY = 86_400.0
CAST = Cast(SHIPPED)


def rates(config: Config, since: float = 0.0, until: float = NOW) -> dict[str, LiveRates]:
    async def read() -> dict[str, LiveRates]:
        async with await Database.open(config.database_file) as database:
            return await live_rates(database, CAST, since=since, until=until)

    return asyncio.run(read())


def test_replies_after_the_first_are_counted_by_version(make_config: MakeConfig) -> None:
    config = make_config()
    log_replies(config, "default@1", counted(3, 5), at=NOW - DAY)
    log_replies(config, "default@2", counted(0, 4), at=NOW - DAY, channel="discord:7")
    log_replies(config, "default@2", [INTRODUCES], at=NOW - 3600, channel="discord:8")
    assert rates(config) == {
        "default@1": LiveRates(replies=8, introductions=3),
        "default@2": LiveRates(replies=4, introductions=0),
    }


def test_who_was_asked_may_say_it(make_config: MakeConfig) -> None:
    config = make_config()
    replies = counted(5, 0)
    log_replies(config, "default@1", replies, at=NOW - DAY, question="Who are you?")
    assert rates(config) == {}


def test_only_the_time_that_was_asked_for(make_config: MakeConfig) -> None:
    config = make_config()
    log_replies(config, "default@1", counted(0, 9), at=NOW - 3 * DAY, votes=[True])
    log_replies(config, "default@1", counted(2, 0), at=NOW - DAY, votes=[False, False])
    late = rates(config, since=NOW - 2 * DAY)["default@1"]
    assert (late.iir, late.disliked) == ((2, 2), (2, 2))
    early = rates(config, until=NOW - 2 * DAY)["default@1"]
    assert (early.iir, early.disliked) == ((0, 9), (0, 1))
    assert rates(config, since=NOW + DAY, until=NOW + 2 * DAY) == {}


def test_a_reply_that_failed_and_words_without_a_model_do_not_count(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    log_replies(config, "default@1", counted(2, 0), at=NOW - DAY)

    async def more() -> None:
        async with await Database.open(config.database_file) as database:
            [channel] = await database.channels.all()
            [scene] = [scene async for scene in database.messages.scenes(channel.id)]
            failed = [message for message in scene if message.role == "character"][1]
            await database.messages.finish_reply(
                failed.id, INTRODUCES, finish_reason="error", adapter="default@1"
            )
            for _ in range(3):  # a greeting, /say
                await database.messages.add_said(
                    channel.id,
                    persona="mirela",
                    persona_name="Captain Mirela Vex",
                    content=INTRODUCES,
                    created_at=NOW - DAY + 40,
                )

    asyncio.run(more())
    assert rates(config) == {"default@1": LiveRates(replies=1, introductions=1)}


def test_votes_count_for_the_version_whose_words_they_are_about(make_config: MakeConfig) -> None:
    """Also where the reply was written anew by another version since, as after a thumb down."""
    config = make_config()
    log_replies(config, "default@1", [PLAIN], at=NOW - DAY, votes=[False])

    async def written_anew() -> None:
        async with await Database.open(config.database_file) as database:
            [channel] = await database.channels.all()
            [scene] = [scene async for scene in database.messages.scenes(channel.id)]
            reply = scene[-1]
            variant = await database.feedback.add_variant(
                reply.id,
                "Aye.",
                adapter="default@2",
                sampling={},
                finish_reason="stop",
                created_at=NOW - DAY + 60,
            )
            await database.feedback.choose(variant.id)
            await database.feedback.vote(
                reply.id, voter_key="bob", liked=True, created_at=NOW - DAY + 70
            )
            await database.feedback.vote(
                reply.id, voter_key="eve", liked=True, created_at=NOW - DAY + 80
            )
            await database.consent.set_author("eve", False)

    asyncio.run(written_anew())
    assert rates(config) == {
        "default@1": LiveRates(votes=1, dislikes=1),
        "default@2": LiveRates(votes=1, dislikes=0),  # eve does not want to be learnt from
    }
