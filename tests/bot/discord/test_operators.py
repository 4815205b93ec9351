"""What came of a retraining is said in the operators' channel: once, whole, and only there."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bot import operators
from bot.operators import PICTURE, read_report
from config import Config
from db.database import Database
from db.runs import Run, RunState
from tests.bot.discord.conftest import Town
from tests.bot.scripted import eventually, until
from tests.discord_standin import ChannelHandle, Message

KEY = "2026-11-21T03-00-00Z"
MARK = f"-# retraining {KEY}"
SUMMARY = "**default@4 passes the gate**\nIt introduces itself less."


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(operators, "MOST_SECONDS", 0.1)


@pytest.fixture
def office(town: Town) -> ChannelHandle:
    return town.guild.add_channel("operators")


@pytest.fixture
def told(town: Town, office: ChannelHandle) -> Town:
    """The town, where operators are told in `office`."""
    discord = town.config.discord.model_copy(update={"operators_channel": str(office.id)})
    return replace(town, config=town.config.model_copy(update={"discord": discord}))


def png() -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0\0")),
         chunk(b"IEND", b""))
    )  # fmt: skip


def report_in(config: Config, *, excerpts: int = 3, length: int = 40) -> Path:
    """What the stage `report` leaves."""
    folder = config.retraining_dir / KEY / "report"
    folder.mkdir(parents=True)
    (folder / "summary.md").write_text(f"{SUMMARY}\n", encoding="utf-8")
    (folder / PICTURE).write_bytes(png())
    for number in range(1, excerpts + 1):
        text = f"**Maud**, reply {number} " + "x" * length
        (folder / f"excerpt-{number}.md").write_text(text, encoding="utf-8")
    return folder


@asynccontextmanager
async def database_of(config: Config) -> AsyncIterator[Database]:
    async with await Database.open(config.database_file) as database:
        yield database


async def finished(
    config: Config,
    state: RunState = "promoted",
    *,
    key: str = KEY,
    report: Path | None = None,
    at: float | None = None,
) -> None:
    """A run that ended just now, or at `at`."""
    at = time.time() if at is None else at
    async with database_of(config) as database:
        await database.runs.begin(Run(key, "default", started_at=at - 60))
        folder = str(report) if report else None
        await database.runs.finish(key, state, "It was better.", at, report=folder)


async def announced(config: Config, key: str = KEY) -> bool:
    async with database_of(config) as database:
        run = await database.runs.get(key)
    return run is not None and run.announced_at is not None


async def posts(office: ChannelHandle, config: Config, key: str = KEY) -> list[Message]:
    """All that was said there, once the run counts as announced."""
    await eventually(lambda: announced(config, key))
    return office.messages


async def test_a_report_is_one_message_with_picture_and_excerpts(
    told: Town, office: ChannelHandle
) -> None:
    async with told.bot():
        await finished(told.config, report=report_in(told.config))
        [post] = await posts(office, told.config)
    assert post.author is told.server.bot_user
    assert post.content == f"{SUMMARY}\n{MARK}"
    [picture] = post.attachments
    assert (picture.filename, picture.data) == (PICTURE, png())
    shown = [embed["description"] for embed in post.embeds]
    assert [text[: len("**Maud**, reply 1")] for text in shown] == [
        f"**Maud**, reply {number}" for number in (1, 2, 3)
    ]
    assert post.allowed_mentions is not None
    assert post.allowed_mentions["parse"] == []
    assert not post.flags & 1 << 12  # a verdict may ring


async def test_a_run_without_a_report_is_a_sentence_that_rings_nowhere(
    told: Town, office: ChannelHandle
) -> None:
    async with told.bot():
        await finished(told.config, "skipped")
        [post] = await posts(office, told.config)
    assert post.content == f"Retraining of `default`: **skipped**. It was better.\n{MARK}"
    assert post.flags & 1 << 12


async def test_it_is_said_once_across_restarts(told: Town, office: ChannelHandle) -> None:
    await finished(told.config)
    async with told.bot():
        await posts(office, told.config)
    async with told.bot():
        await finished(told.config, key="2026-11-22T03-00-00Z")
        found = await posts(office, told.config, "2026-11-22T03-00-00Z")
    assert len(found) == 2


async def test_a_crash_after_the_post_does_not_make_two_of_it(
    told: Town, office: ChannelHandle
) -> None:
    await finished(told.config)
    async with told.bot():
        await posts(office, told.config)
    async with database_of(told.config) as database, database.transaction() as connection:
        await connection.execute("UPDATE runs SET announced_at = NULL")
    await told.alice.say(office, f"I say the same!\n{MARK}")  # nobody else's word counts
    async with told.bot():
        found = await posts(office, told.config)
    assert [post.author for post in found] == [told.server.bot_user, told.alice.state]


async def test_an_answer_that_is_lost_does_not_make_two_of_it(
    told: Town, office: ChannelHandle
) -> None:
    lost = told.server.faults.drop_before_response("POST", "/channels/{id}/messages", times=1)
    async with told.bot():
        await finished(told.config)
        found = await posts(office, told.config)
    assert lost.hits == 1
    assert len(found) == 1


async def test_failures_are_tried_again(
    told: Town, office: ChannelHandle, caplog: pytest.LogCaptureFixture
) -> None:
    fault = told.server.faults.fail("POST", "/channels/{id}/messages", status=503, times=3)
    async with told.bot():
        await finished(told.config)
        found = await posts(office, told.config)
    assert fault.hits == 3
    assert len(found) == 1
    assert "are told of the retraining later" in caplog.text


async def test_a_missing_permission_is_told_once_and_tried_again(
    told: Town, office: ChannelHandle, caplog: pytest.LogCaptureFixture
) -> None:
    office.deny_bot("send_messages")
    async with told.bot():
        await finished(told.config)
        await told.server.requests.wait("POST", "/channels/{id}/messages", count=3)
        assert not await announced(told.config)
        office.deny_bot()  # nothing any more
        assert len(await posts(office, told.config)) == 1
    assert caplog.text.count("cannot be written to") == 1


async def test_without_the_right_to_attach_files_the_words_are_said(
    told: Town, office: ChannelHandle
) -> None:
    office.deny_bot("attach_files")
    async with told.bot():
        await finished(told.config, report=report_in(told.config))
        [post] = await posts(office, told.config)
    assert post.content.startswith(SUMMARY)
    assert not post.attachments
    assert len(post.embeds) == 3


async def test_a_channel_that_is_not_there_does_no_harm(
    told: Town, office: ChannelHandle, caplog: pytest.LogCaptureFixture
) -> None:
    office.delete()
    async with told.bot():
        await finished(told.config)
        await until(lambda: "cannot be written to" in caplog.text)
        await told.reply_to(await told.ask("hi"))  # the bot goes on


async def test_what_nobody_foresaw_does_not_end_it(
    told: Town,
    office: ChannelHandle,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0

    def broken(run: Run, data: Path) -> operators.Report:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise ZeroDivisionError("a bug")
        return operators.NOTHING

    monkeypatch.setattr(operators, "read_report", broken)
    async with told.bot():
        await finished(told.config)
        assert len(await posts(office, told.config)) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_old_runs_are_no_news(told: Town, office: ChannelHandle) -> None:
    await finished(told.config, key="old", at=time.time() - 2 * operators.STALE_SECONDS)
    async with told.bot():
        await finished(told.config)
        found = await posts(office, told.config)
    assert [post.content.splitlines()[-1] for post in found] == [MARK]
    assert await announced(told.config, "old")


async def test_long_reports_fit(told: Town, office: ChannelHandle) -> None:
    folder = report_in(told.config, excerpts=5, length=5000)
    (folder / "summary.md").write_text("y" * 5000, encoding="utf-8")
    async with told.bot():
        await finished(told.config, report=folder)
        [post] = await posts(office, told.config)
    assert len(post.content) <= 2000
    assert len(post.embeds) == 3
    assert sum(len(embed["description"]) for embed in post.embeds) <= 6000


async def test_without_a_channel_nobody_is_told(town: Town) -> None:
    async with town.bot():
        await finished(town.config)
        await asyncio.sleep(0.2)
        assert not await announced(town.config)
    assert not town.server.requests.matching("POST", "/channels/{id}/messages")


def test_files_from_elsewhere_are_not_shown(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (data / "retraining" / "other", elsewhere):
        folder.mkdir(parents=True)
    (elsewhere / "summary.md").write_text("a secret", encoding="utf-8")
    outside = Run("k", "default", report=str(elsewhere))
    assert read_report(outside, data) == operators.NOTHING
    assert read_report(replace(outside, report="../elsewhere"), data) == operators.NOTHING
    (data / "retraining" / "link").symlink_to(elsewhere)
    linked = replace(outside, report="retraining/link")
    assert read_report(linked, data) == operators.NOTHING
    (data / "retraining" / "other" / "summary.md").symlink_to(elsewhere / "summary.md")
    inside = replace(outside, report=str(data / "retraining" / "other"))
    assert read_report(inside, data) == operators.NOTHING


def test_a_report_is_found_under_another_path_of_the_same_folder(tmp_path: Path) -> None:
    """The schedule may run in another container, which knows the data folder by another path."""
    folder = tmp_path / "retraining" / KEY / "report"
    folder.mkdir(parents=True)
    (folder / "summary.md").write_text("Well done.", encoding="utf-8")
    run = Run(KEY, "default", report=f"/app/data/retraining/{KEY}/report")
    assert read_report(run, tmp_path).summary == "Well done."


def test_damaged_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "summary.md").write_bytes(b"\xff half")
    (folder / PICTURE).write_bytes(b"\0" * ((8 << 20) + 1))
    report = read_report(Run(KEY, "default", report="report"), tmp_path)
    assert report == operators.Report("\ufffd half", None, ())


async def test_what_became_of_a_version_live_is_told_in_a_sentence_of_its_own(
    told: Town, office: ChannelHandle
) -> None:
    async with told.bot():
        await finished(told.config, "canary", report=report_in(told.config))
        await posts(office, told.config)
        async with database_of(told.config) as database:
            said = "The trial of default@4 ended: it is disliked in 9 of 10 votes."
            assert await database.runs.settle(KEY, "canary", "rejected", said, time.time())
            assert not await database.runs.settle(KEY, "canary", "promoted", said, time.time())
        first, second = await posts(office, told.config)
    assert first.content == f"{SUMMARY}\n{MARK}"
    assert second.content == f"Retraining of `default`: **rejected**. {said}\n{MARK}, live"
    assert not second.attachments
    assert not second.embeds
