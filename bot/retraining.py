"""`/retrain`: how the retraining goes, and starting or ending it, for whoever runs the bot.

A run is a process of its own, `python -m finetune retrain`, and its row in the database tells of
it: a run that the schedule or a shell started is seen, and can be ended, in the same way.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bot.answers import Answer
from bot.errors import CommandError
from config import DEFAULT_PATH, Config
from db.database import Database
from db.runs import Run
from inference.adapters import AdapterRegistry
from inference.promotions import taken_back

log = logging.getLogger(__name__)

LOCK = "lock"  # in data/retraining; held by whichever run is at work, until its process ends
LOG = "last_command.log"  # there, too: what the run said that `/retrain run` started last
SHOWN = 10  # runs of a history
PATIENCE_SECONDS = 20.0  # for a run that was started to say who it is
_LOOK_SECONDS = 0.1
_MOST_FIGURES = 12
_LONGEST_REASON = 300

Trigger = Literal["command", "discord"]
Launch = Callable[[Config, Sequence[str]], "subprocess.Popen[bytes]"]


class RetrainCommands:
    """The commands of one bot. Who may use them is the front end's question."""

    def __init__(
        self, config: Config, database: Database, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._runs = database.runs
        self._adapters = AdapterRegistry(config.adapters_dir)
        self._clock = clock
        self._launch: Launch = launch
        self._process: subprocess.Popen[bytes] | None = None

    async def status(self) -> Answer:
        """What is being done, since when, and what came of the last run."""
        newest = await self._runs.newest(1)
        if self._alive() and not self._known(newest):
            return Answer("A retraining is starting.")
        lines = []
        if self._failed_to_start(newest):
            lines.append(f"The last start failed: {await asyncio.to_thread(self._last_word)}")
        if not newest:
            lines.append("Nothing was retrained yet; `/retrain run` does it.")
            return Answer("\n".join(lines))
        run = newest[0]
        if run.finished_at is None:
            lines += self._under_way(run, at_work=await self._at_work())
        else:
            lines.append(f"The last run, {await self._ended(run)}")
            lines += [f"Report: {run.report}"] if run.report else []
        return Answer("\n".join([*lines, *_figure_lines(run.figures)]))

    async def history(self) -> Answer:
        """The last runs, newest first, a line each."""
        runs = await self._runs.newest(SHOWN)
        if not runs:
            return Answer("Nothing was retrained yet.")
        at_work = await self._at_work()
        lines = [await self._line(run, at_work=at_work) for run in runs]
        return Answer("\n".join(f"· {line}" for line in lines))

    async def run(
        self, adapter: str = "", *, force: bool = False, trigger: Trigger = "command"
    ) -> Answer:
        """Start a run, which goes on whatever becomes of the bot; `force`: with few new replies.

        An `adapter` other than the configured one gets a new version instead; the run's row keeps
        the `trigger`.
        """
        unfinished = await self._runs.unfinished()
        if self._alive() or (unfinished is not None and await self._at_work()):
            raise CommandError("A retraining is running already; /retrain status tells of it.")
        arguments = ["--trigger", trigger, *(["--force"] if force else [])]
        if adapter:  # in one word, so that no name is taken for an option
            arguments.append(f"--adapter={adapter}")
        before = {run.key for run in await self._runs.newest(SHOWN)}
        self._process = await asyncio.to_thread(self._launch, self._config, arguments)
        again = ""
        wanted = adapter or self._config.retrain.adapter
        if unfinished and unfinished.adapter == wanted and not unfinished.cancel_requested:
            again = f" It goes on with {unfinished.key}."
        return await self._begun(self._process, before, again)

    async def cancel(self) -> Answer:
        """End the run at its next safe point, for good: no later run goes on with it."""
        run = await self._runs.unfinished()
        if run is None or not await self._runs.request_cancel(run.key):
            raise CommandError("No retraining is running.")
        if await self._at_work():
            return Answer(f"{run.key} ends at its next safe point; what it made is left unused.")
        return Answer(f"{run.key} was broken off before, and will not be gone on with.")

    async def _begun(
        self, process: subprocess.Popen[bytes], before: set[str], again: str
    ) -> Answer:
        """The answer once it is known how the run begins, or after some patience."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            code = process.poll()
            runs = await self._runs.newest(1)
            new = bool(runs) and (runs[0].key not in before or runs[0].pid == process.pid)
            if new and runs[0].finished_at is not None:
                return Answer(f"It is over already: {await self._ended(runs[0])}")
            if code is not None:
                raise CommandError(f"It did not begin: {await asyncio.to_thread(self._last_word)}")
            if new:
                return Answer(f"{runs[0].key} has begun.{again} /retrain status tells how it goes.")
            await asyncio.sleep(_LOOK_SECONDS)
        return Answer(f"It is starting.{again} /retrain status tells how it goes.")

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _known(self, newest: Sequence[Run]) -> bool:
        """Whether what was started here last has come so far that a row tells of it."""
        process = self._process
        return bool(newest) and process is not None and newest[0].pid == process.pid

    def _failed_to_start(self, newest: Sequence[Run]) -> bool:
        """Whether what was started here last ended badly, and never had a row."""
        process = self._process
        ended_badly = process is not None and process.poll() not in (None, 0)
        return ended_badly and not self._known(newest)

    async def _at_work(self) -> bool:
        return await asyncio.to_thread(is_held, self._config.retraining_dir / LOCK)

    def _last_word(self) -> str:
        """The last line that the run said."""
        file = self._config.retraining_dir / LOG
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError as error:
            return f"{file} cannot be read ({error.strerror or error})."
        return _cut(lines[-1]) if lines else f"it ended without a word; {file} is empty."

    def _under_way(self, run: Run, *, at_work: bool) -> list[str]:
        stage = run.stage or "its beginning"
        since = _span(self._clock() - (run.stage_at or run.started_at))
        begun = f"begun {_span(self._clock() - run.started_at)} ago, {_moment(run.started_at)}"
        if at_work:
            lines = [f"{run.key} of `{run.adapter}`: {stage}, for {since}; {begun}."]
        else:
            next_run = "ends it" if run.cancel_requested else "goes on with it"
            lines = [
                f"{run.key} of `{run.adapter}` was broken off in {stage}; {begun}."
                f" The next run {next_run}."
            ]
        if run.cancel_requested:
            lines.append("It was asked to end.")
        done = ", ".join(f"{name} {_span(took)}" for name, took in run.stage_times.items())
        return [*lines, f"Done: {done}."] if done else lines

    async def _line(self, run: Run, *, at_work: bool) -> str:
        if run.finished_at is not None:
            return await self._ended(run)
        return " ".join(self._under_way(run, at_work=at_work)[:1])

    async def _ended(self, run: Run) -> str:
        between = ""
        if run.challenger:
            between = f" `{run.challenger}` against `{run.champion or 'base'}`:"
        ago = _span(self._clock() - (run.finished_at or 0.0))
        return (
            f"{run.key} of `{run.adapter}`:{between} **{run.state}** {ago} ago."
            f" {_cut(run.reason)}".rstrip()
        ) + await asyncio.to_thread(self._since, run)

    def _since(self, run: Run) -> str:
        """What became of its version since, where the row does not say so before the next look."""
        if run.state == "canary":
            canary = self._adapters.canary(run.adapter)
            return "" if canary is not None and canary.run == run.key else " Its trial is over."
        if run.state != "promoted":
            return ""
        rollback = taken_back(self._adapters.history(run.adapter), run.key)
        if rollback is None:
            return ""
        ago = _span(self._clock() - rollback.at)
        return f" It was taken back {ago} ago: {_cut(rollback.reason) or 'nobody said why'}."


async def retrain_line(commands: RetrainCommands, words: Sequence[str]) -> Answer | None:
    """A line `/retrain …` of the terminal, without its first word; None if it is no command."""
    match [word.lower() for word in words[:1]], list(words[1:]):
        case ["status"], []:
            return await commands.status()
        case ["history"], []:
            return await commands.history()
        case ["cancel"], []:
            return await commands.cancel()
        case ["run"], [*rest]:
            force = bool(rest) and rest[-1].lower() == "force"
            names = rest[:-1] if force else rest
            if len(names) < 2:
                return await commands.run("".join(names), force=force)
    return None


def launch(config: Config, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a run that outlives this process; what it says goes to `LOG`.

    Not asyncio's subprocess: that kills its child when the loop ends. Raises `CommandError`.
    """
    if config.file is None:
        raise CommandError("A retraining reads the configuration anew, and this bot has no file.")
    log_file = config.retraining_dir / LOG
    command = [
        sys.executable, "-m", "finetune", "retrain", "--config", str(config.file), *arguments,
    ]  # fmt: skip
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = subprocess.Popen(
                command,
                cwd=DEFAULT_PATH.parent,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # neither Ctrl-C nor the end of a shell reaches it
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CommandError(
            f"The retraining cannot be started ({error.strerror or error}: {error.filename})."
        ) from None
    log.info("Started a retraining as process %d; what it says is in %s.", process.pid, log_file)
    # Only so that it does not stay behind as a zombie once it has ended.
    threading.Thread(target=process.wait, daemon=True, name="retraining").start()
    return process


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock of the retraining; the kernel frees that of a dead one."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _figure_lines(figures: Mapping[str, Any]) -> list[str]:
    """What was measured, before and after; nothing before the stage evaluate."""
    before, after = figures.get("champion", {}), figures.get("challenger", {})
    changes = [
        f"{name} {_number(before[name])} → {_number(after[name])}"
        for name in after
        if name in before
    ]
    return [f"Champion → challenger: {', '.join(changes[:_MOST_FIGURES])}."] if changes else []


def _number(figure: Mapping[str, Any]) -> str:
    value = figure.get("value")
    return "–" if value is None else f"{value:.3g}"


def _span(seconds: float) -> str:
    """A length of time in words; a clock that was set back makes none negative."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"
