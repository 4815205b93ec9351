"""Waiting for quiet: the log says when somebody last spoke, a made-up clock what time it is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import pytest

from config import Config, DatabaseSettings, ScheduleSettings
from db.database import Database
from finetune.retraining.idle import last_said, wait_for_quiet

_START = 1_795_000_000.0


class Night:
    """Time passes only by waiting; somebody speaks at the times given, and is logged then."""

    def __init__(self, config: Config, *spoken: float) -> None:
        self._config = config
        self._spoken = sorted(spoken)
        self.now = 0.0
        self.said: list[str] = []
        self.stop_at = float("inf")
        self.pass_time(0.0)

    def pass_time(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        while self._spoken and self._spoken[0] <= self.now:
            asyncio.run(_say(self._config, _START + self._spoken.pop(0)))
        return self.now >= self.stop_at

    def wait(self) -> str:
        return wait_for_quiet(
            self._config,
            self.said.append,
            self.pass_time,
            clock=lambda: _START + self.now,
            monotonic=lambda: self.now,
        )


async def _say(config: Config, at: float) -> None:
    async with await Database.open(config.database_file) as database:
        channel = await database.channels.seen(
            "discord:1", guild_key=None, name="general", kind="guild", parent_key=None
        )
        await database.messages.add_user(
            channel.id,
            author_key="discord:5",
            author_name="Ann",
            content="hi",
            created_at=at,
            owed=False,
        )


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    return make_config(schedule=ScheduleSettings(quiet_minutes=20.0, patience_hours=3.0))


def test_where_nobody_ever_spoke_it_is_quiet_and_no_database_is_begun(config: Config) -> None:
    night = Night(config)
    assert night.wait() == "quiet"
    assert (night.now, night.said) == (0.0, [])
    assert last_said(config) is None
    assert not config.database_file.exists()


def test_it_waits_until_twenty_minutes_after_the_last_word(config: Config) -> None:
    night = Night(config, -60.0, 600.0, 1500.0)
    assert night.wait() == "quiet"
    assert night.now == pytest.approx(1500.0 + 20 * 60, abs=0.01)
    assert night.said == ["People are talking; the training waits until they pause."]


def test_patience_has_an_end(config: Config) -> None:
    night = Night(config, *range(0, 4 * 3600, 300))
    assert night.wait() == "busy"
    assert night.now == pytest.approx(3 * 3600)


def test_whoever_stops_the_service_does_not_wait(config: Config) -> None:
    night = Night(config, 0.0)
    night.stop_at = 60.0
    assert night.wait() == "stopped"


def test_zero_minutes_do_not_wait(make_config: Callable[..., Config]) -> None:
    night = Night(make_config(schedule=ScheduleSettings(quiet_minutes=0.0)), 0.0)
    assert night.wait() == "quiet"
    assert night.now == 0.0


def test_words_from_the_future_count_as_said_now(config: Config) -> None:
    """The clock was ahead when they were said; the wait is not as long as it was ahead."""
    night = Night(config)
    asyncio.run(_say(config, _START + 30 * 86_400))
    assert night.wait() == "busy"
    assert night.now == pytest.approx(3 * 3600)


def test_late_words_do_not_hide_newer_ones(config: Config) -> None:
    """After the bot was away, older messages are stored after newer ones."""
    Night(config)
    for at in (_START, _START - 5000):
        asyncio.run(_say(config, at))
    assert last_said(config) == _START


def test_a_database_that_cannot_be_read_is_asked_again(
    make_config: Callable[..., Config],
) -> None:
    config = make_config(
        schedule=ScheduleSettings(quiet_minutes=20.0, patience_hours=0.05),
        database=DatabaseSettings(busy_timeout_seconds=0.05),
    )
    night = Night(config, 0.0)
    locked = sqlite3.connect(config.database_file, isolation_level=None)
    locked.execute("PRAGMA locking_mode = EXCLUSIVE")
    locked.execute("BEGIN EXCLUSIVE")
    try:
        assert night.wait() == "busy"
    finally:
        locked.close()
    assert "It cannot be seen whether people talk" in night.said[0]
