"""The operators' channel: what came of each retraining, said there once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import discord

from config import Config
from db.database import Database, DatabaseError
from db.runs import Run

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0  # between two looks into the database
MOST_SECONDS = 3600.0  # between two attempts, while Discord does not take it
STALE_SECONDS = 7 * 86400.0  # what ended longer ago is no news: the channel was set only now
LIVE = "live"  # in the verdict of a run: what became of its version after the run was over
SUMMARY = "summary.md"
PICTURE = "iir_by_turn.png"
EXCERPTS = "excerpt-*.md"
_MOST_EXCERPTS = 3
_LONGEST_TEXT = 1800  # of 2,000 characters, three excerpts of 6,000 in all embeds
_MOST_BYTES = 8 << 20  # of a file; Discord takes 10 MiB
_CLOCKS_APART = 300.0  # seconds that Discord's clock may be behind this machine's
_LOOKED_BACK = 100  # posts among which one is looked for that was not noted
_TOO_MUCH = (400, 403, 413)  # no such embed, no right to attach files, a file too big
_QUIET = ("skipped", "cancelled")  # nobody's telephone rings for these


@dataclass(frozen=True, slots=True)
class Report:
    """What a run left to be shown; `picture` is a PNG, None where there is none."""

    summary: str = ""
    picture: bytes | None = None
    excerpts: tuple[str, ...] = ()


NOTHING = Report()


class OperatorsChannel:
    """Tells the channel of finished runs. Use it from the client's event loop."""

    def __init__(
        self,
        config: Config,
        database: Database,
        client: discord.Client,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._runs = database.runs
        self._client = client
        self._clock = clock
        self._refused = False  # a refusal was told, and nothing has gone through since
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for runs that ended, where a channel is set. The client is logged in."""
        if self._config.discord.operators_channel and self._task is None:
            self._task = asyncio.create_task(self._watch(), name="operators' channel")

    async def close(self) -> None:
        """Stop; what was not said yet is said after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def announce(self) -> None:
        """Say what has not been said. Raises discord.py's errors and `DatabaseError`."""
        for run in await self._runs.unannounced():
            if self._clock() - (run.finished_at or 0.0) < STALE_SECONDS:
                await self._tell(run)
                self._refused = False
            await self._runs.mark_announced(run.key, self._clock())

    async def _watch(self) -> None:
        wait = LOOK_SECONDS
        while True:
            wait = LOOK_SECONDS if await self._tried() else min(2 * wait, MOST_SECONDS)
            await asyncio.sleep(wait)

    async def _tried(self) -> bool:
        """`announce`; false if that has to be tried again."""
        try:
            await self.announce()
            return True
        except (discord.Forbidden, discord.NotFound) as error:
            if not self._refused:
                log.warning(
                    "The operators' channel %s cannot be written to (%s); let me see it, read"
                    " its history and send messages there, or change discord.operators_channel.",
                    self._config.discord.operators_channel,
                    error.text or error,
                )
            self._refused = True
        except (discord.HTTPException, aiohttp.ClientError, OSError, DatabaseError) as error:
            log.warning("The operators are told of the retraining later: %s", error)
        except Exception:
            log.exception("The operators could not be told of the retraining.")
        return False

    async def _tell(self, run: Run) -> None:
        """Post what came of `run`, unless it stands there: a crash may have come in between."""
        channel = self._client.get_partial_messageable(int(self._config.discord.operators_channel))
        if await self._stands_in(channel, run):
            return
        report = NOTHING  # it was shown before, and what became of the version live is told now
        if LIVE not in run.verdict:
            report = await asyncio.to_thread(read_report, run, self._config.paths.data)
        for shown in _ever_less(report):
            try:
                return await self._post(channel, run, shown)
            except discord.HTTPException as error:
                if error.status not in _TOO_MUCH or shown == NOTHING:
                    raise
                log.info("Less is shown of the report of %s: %s", run.key, error)

    async def _post(self, channel: discord.PartialMessageable, run: Run, report: Report) -> None:
        """One message, so that all of it is there or nothing."""
        picture = report.picture
        files = [discord.File(io.BytesIO(picture), PICTURE)] if picture is not None else []
        await channel.send(
            f"{report.summary or _sentence(run)}\n{_mark(run)}",
            files=files,
            embeds=[discord.Embed(description=text) for text in report.excerpts],
            allowed_mentions=discord.AllowedMentions.none(),
            nonce=_nonce(run),  # an answer that is lost does not make it two
            silent=run.state in _QUIET,
        )

    async def _stands_in(self, channel: discord.PartialMessageable, run: Run) -> bool:
        me = self._client.user.id if self._client.user is not None else 0
        since = datetime.fromtimestamp((run.finished_at or 0.0) - _CLOCKS_APART, UTC)
        mark = _mark(run)
        async for post in channel.history(limit=_LOOKED_BACK, after=since, oldest_first=False):
            if post.author.id == me and post.content.endswith(mark):
                return True
        return False


def _ever_less(report: Report) -> dict[Report, None]:
    """`report`, then what can be shown of it with fewer rights; the sentence always can."""
    bare = replace(report, excerpts=())
    less = (replace(report, picture=None), bare, replace(bare, picture=None), NOTHING)
    return dict.fromkeys((report, *less))


def read_report(run: Run, data: Path) -> Report:
    """The report of `run`; what is missing, too long or outside of `data` is left out."""
    if not run.report:
        return NOTHING
    data = data.resolve()
    folder = _folder(run.report, run.key, data)
    if folder is None:
        log.warning("The report of %s is not shown: %s is not in %s.", run.key, run.report, data)
        return NOTHING
    picture = _read(folder / PICTURE, data)
    return Report(
        _text(_read(folder / SUMMARY, data)),
        picture or None,
        tuple(
            text
            for file in sorted(folder.glob(EXCERPTS))[:_MOST_EXCERPTS]
            if (text := _text(_read(file, data)))
        ),
    )


def _folder(report: str, key: str, data: Path) -> Path | None:
    """Where a report lies in `data`; a run in another container may know that by another path."""
    for place in (data / report, data / "retraining" / key / "report"):
        folder = place.resolve()
        if folder.is_relative_to(data) and folder.is_dir():
            return folder
    return None


def _read(file: Path, data: Path) -> bytes:
    """What is in a file of `data`; empty where it is not there, or is no such file."""
    try:
        place = file.resolve(strict=True)
        if not (place.is_file() and place.is_relative_to(data)):
            raise OSError("it is no file of the data folder")
        if place.stat().st_size > _MOST_BYTES:
            raise OSError("it is too big")
        return place.read_bytes()
    except OSError as error:
        log.warning("%s of a report is left out: %s.", file, error.strerror or error)
        return b""


def _text(content: bytes) -> str:
    """Words that fit into a message."""
    text = content.decode("utf-8", "replace").strip()
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _sentence(run: Run) -> str:
    """What is said of a run without a report."""
    return _text(f"Retraining of `{run.adapter}`: **{run.state}**. {run.reason}".encode())


def _mark(run: Run) -> str:
    """The last line of a post, by which it is found again."""
    return f"-# retraining {run.key}{', live' if LIVE in run.verdict else ''}"


def _nonce(run: Run) -> str:
    return hashlib.sha256(_mark(run).encode()).hexdigest()[:24]  # Discord takes 25 characters
