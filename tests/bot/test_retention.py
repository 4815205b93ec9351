"""What is too old is deleted while the bot runs, and not learnt from meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from bot.privacy_commands import TERMINAL_HISTORY
from bot.retention import Retention
from bot.startup import StartupError
from bot.typed_lines import TypedLines
from config import Config, PrivacySettings
from db.database import Database, DatabaseError
from db.retention import Retention as Stored
from db.unlogged import Unlogged
from tests.bot.conftest import GENERAL, Scene, scene_in
from tests.bot.scripted import eventually

DAY = 86400.0


async def kept(scene: Scene) -> list[str]:
    channel = await scene.behind.turns.channel(GENERAL)
    history = await scene.behind.database.messages.history(channel, limit=99)
    return [message.content for message in history]


def retention_in(days: float, scene: Scene) -> Retention:
    """The retention of `scene`, as it will be in `days`."""
    behind = scene.behind
    return Retention(
        behind.config, behind.database, behind.turns, clock=lambda: time.time() + days * DAY
    )


async def test_what_is_older_than_the_setting_goes_out_of_memory_and_prompts(
    make_config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bot.retention")
    async with scene_in(make_config(privacy=PrivacySettings(keep_days=30))) as scene:
        await scene.say("an old secret", created_at=time.time() - 2 * DAY)
        await scene.settled()
        channel = await scene.behind.turns.channel(GENERAL)
        assert scene.behind.turns.memory.last(channel, "mirela") is not None
        assert await retention_in(27, scene).delete_old() == 0
        assert await retention_in(29, scene).delete_old() == 1
        assert await kept(scene) == ["You said: Ann: an old secret"]
        assert scene.behind.turns.memory.last(channel, "mirela") is None
        assert await retention_in(31, scene).delete_old() == 1
        assert await kept(scene) == []
    assert "1 messages from more than 30 days ago are deleted." in caplog.text


async def test_lines_typed_at_the_terminal_grow_old_too(
    make_config: Callable[..., Config],
) -> None:
    config = make_config(privacy=PrivacySettings(keep_days=30))
    file = config.paths.data / TERMINAL_HISTORY
    async with scene_in(config) as scene:
        await retention_in(0, scene).delete_old()  # there is no such file, and none is made
        assert not file.exists()
        typed = TypedLines(str(file))
        typed.append_string("new\n# not a time")
        new = file.read_text(encoding="utf-8")
        file.write_text(f"\n# 2001-01-01 10:00:00.5\n+an old secret\n+more{new}", encoding="utf-8")
        await retention_in(29, scene).delete_old()
        assert "secret" not in file.read_text(encoding="utf-8")
        assert list(TypedLines(str(file)).load_history_strings()) == ["new\n# not a time"]
        await retention_in(31, scene).delete_old()
        assert list(TypedLines(str(file)).load_history_strings()) == []


async def test_for_ever_is_the_default(scene: Scene) -> None:
    await scene.say("an old secret", created_at=1.0)
    await scene.settled()
    assert await retention_in(9999, scene).delete_old() == 0
    assert len(await kept(scene)) == 2


async def test_it_is_done_at_every_start(make_config: Callable[..., Config]) -> None:
    config = make_config(privacy=PrivacySettings(keep_days=30))
    async with scene_in(config) as scene:
        await scene.say("an old secret", created_at=time.time() - 31 * DAY, addressed=False)
        assert await kept(scene) == ["an old secret"]
    async with scene_in(config) as again:

        async def gone() -> bool:
            return await kept(again) == []

        await eventually(gone)


async def test_a_failure_is_logged_and_the_bot_goes_on(
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def locked(self: Stored, moment: float) -> int:
        raise DatabaseError("The database is locked.")

    monkeypatch.setattr(Stored, "forget_before", locked)
    async with scene_in(make_config(privacy=PrivacySettings(keep_days=30))) as scene:
        await scene.say("hello")
        await scene.settled()
        assert len(scene.replies) == 1
        assert "What is too old stays another hour: The database is locked." in caplog.text


async def test_a_database_that_cannot_be_swept_is_one_sentence(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(self: Unlogged, **moments: float) -> int:
        raise DatabaseError("The database is locked.")

    monkeypatch.setattr(Unlogged, "sweep", locked)
    with pytest.raises(StartupError, match=r"The database is locked\."):
        async with scene_in(config):
            pass
    async with await Database.open(config.database_file) as database:  # closed, so not locked
        await database.channels.all()


def test_what_is_not_kept_is_not_written_down(config: Config) -> None:
    file = config.paths.data / "terminal_history"
    typed = TypedLines(str(file))
    typed.append_string("one")
    typed.kept = False
    typed.append_string("two")
    assert typed.get_strings() == ["one", "two"]
    assert "two" not in file.read_text(encoding="utf-8")
