from __future__ import annotations

import time

import pytest

from config import Config
from db.database import Database
from finetune.errors import InputError
from finetune.evaluation.live import SILENCE_SECONDS, read_live
from persona_prompts.cast import SHIPPED, Cast
from tests.conftest import MakeConfig

NOW = time.time()
DAY = 86_400.0


async def _log(config: Config, key: str, *said: tuple[float, str, str, str]) -> None:
    """Each of `said` is (seconds ago, adapter, question, reply)."""
    async with await Database.open(config.database_file) as database:
        channel = await database.channels.seen(key, guild_key=None, name=key, kind="terminal")
        for ago, adapter, question, reply in said:
            asked = await database.messages.add_user(
                channel.id,
                author_key="ann",
                author_name="Ann",
                content=question,
                created_at=NOW - ago,
                owed=True,
            )
            with pytest.MonkeyPatch.context() as patch:  # a reply is dated when it begins
                patch.setattr("db.messages.time.time", lambda moment=NOW - ago: moment)
                written = await database.messages.begin_reply(
                    channel.id,
                    question=asked.id,
                    persona="mirela",
                    persona_name="Captain Mirela Vex",
                    adapter=adapter,
                    sampling={},
                )
            await database.messages.finish_reply(
                written.id, reply, finish_reason="stop", adapter=adapter
            )


async def test_the_log_is_measured_by_adapter(make_config: MakeConfig) -> None:
    config = make_config()
    await _log(
        config,
        "terminal:main",
        (3.0, "pirate@1", "Hi", "Ahoy."),
        (2.0, "pirate@1", "So?", "I'm Mirela."),
        (1.0, "pirate@2", "So?", "Rum."),
    )
    read = await read_live(config, Cast(SHIPPED))
    assert [(each.adapter, [r.text for r in each.replies]) for each in read] == [
        ("pirate@1", ["Ahoy.", "I'm Mirela."]),
        ("pirate@2", ["Rum."]),
    ]
    assert read[0].user_turns == ["Hi", "So?"]
    assert read[0].user.name == "Captain Mirela Vex"
    assert "Mirela" in read[0].user.aliases
    assert "smuggler" in read[0].user.card
    assert len({each.user.id for each in read}) == 2


async def test_only_the_days_and_the_channel_that_were_asked_for(make_config: MakeConfig) -> None:
    config = make_config()
    await _log(
        config, "terminal:main", (9 * DAY, "base", "Hi", "Old."), (5.0, "base", "Hi", "New.")
    )
    await _log(config, "discord:7", (5.0, "base", "Hi", "Elsewhere."))
    cast = Cast(SHIPPED)

    async def texts(**options: object) -> list[str]:
        read = await read_live(config, cast, **options)  # type: ignore[arg-type]
        return [reply.text for each in read for reply in each.replies]

    assert await texts() == ["Old.", "New.", "Elsewhere."]
    assert await texts(days=3) == ["New.", "Elsewhere."]
    assert await texts(channel="7") == ["Elsewhere."]
    with pytest.raises(InputError, match="'discord:8'"):
        await texts(channel="8")


async def test_silence_ends_a_dialogue(make_config: MakeConfig) -> None:
    config = make_config()
    await _log(
        config,
        "terminal:main",
        (2 * SILENCE_SECONDS, "base", "Hi", "One."),
        (1.0, "base", "Hi", "Two."),
    )
    read = await read_live(config, Cast(SHIPPED))
    assert [[reply.text for reply in each.replies] for each in read] == [["One."], ["Two."]]


async def test_no_log_is_one_sentence(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(InputError, match="There is no database"):
        await read_live(config, Cast(SHIPPED))
    await _log(config, "terminal:main")
    with pytest.raises(InputError, match="no reply of the last 2 days in the log"):
        await read_live(config, Cast(SHIPPED), days=2)
