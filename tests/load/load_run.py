"""One run of the crowd against the bot in its own process, and the figures of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inference.base_model import find_base_model
from tests.conftest import MODELS, REPOSITORY
from tests.discord_standin import DiscordStandIn
from tests.load.crowd import Crowd, Said

HEARTBEAT = 4.0  # seconds
CAPACITY = 16
QUEUE = 64  # inference.queue_size, as it is shipped

_MEMORY_SECONDS = 1.0


@dataclass
class Figures:
    """What one run showed. Memory in MB at seconds since the bot was ready."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    longest_gap: float = 0.0  # between two heartbeats
    closures: list[tuple[int | None, int]] = field(default_factory=list)
    late: dict[str, float] = field(default_factory=dict)  # of the bot's event loop, seconds
    written: int = 0
    leaks: int = 0
    refused_by_rate_limits: int = 0
    exit_code: int | None = None

    def memory_between(self, since: float, until: float) -> float:
        """The median, MB."""
        return statistics.median(mb for at, mb in self.memory if since <= at <= until)


@dataclass
class Run:
    server: DiscordStandIn
    crowd: Crowd
    figures: Figures
    process: asyncio.subprocess.Process
    log: Path

    def hold(self) -> None:
        """The worker writes nothing any more."""
        self.process.send_signal(signal.SIGUSR1)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGUSR2)

    def told(self) -> str:
        """What the bot logged; nothing, if all went well."""
        return _text(self.log)


@asynccontextmanager
async def crowded(folder: Path, *, people: int, channels: int, pause: float) -> AsyncIterator[Run]:
    """The bot on a stand-in with Discord's usual rate limits, and a crowd that is yet silent.

    Afterwards the bot has ended, and the figures are complete.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    model = find_base_model("embedded", MODELS, lambda _: None)
    shutil.copy(Path(model.location) / "tokenizer.json", data)
    async with DiscordStandIn(heartbeat_interval=HEARTBEAT) as server:
        limits = server.rate_limits.enforce_usual()
        crowd = Crowd(server, people=people, channels=channels, pause=pause)
        figures, log = Figures(), folder / "bot.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.load.company", str(data), server.api_url, server.gateway_url),
                *(server.token, str(CAPACITY)),
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stderr=errors,
                stdout=errors,
            )
        tasks: list[asyncio.Task[None]] = []
        try:
            await _ready(server, process, log)
            tasks = [
                asyncio.create_task(crowd.watch()),
                asyncio.create_task(_weigh(process.pid, figures)),
            ]
            yield Run(server, crowd, figures, process, log)
            figures.longest_gap = max(log.longest_gap() for log in server.heartbeats)
            figures.closures = list(server.closures)
            figures.refused_by_rate_limits = sum(limit.refused for limit in limits)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _end(process)
        figures.exit_code = process.returncode
        told = json.loads((data / "figures.json").read_text())
        figures.late, figures.written = told["late"], told["written"]
        figures.leaks = told["leaks"]


async def _ready(server: DiscordStandIn, process: asyncio.subprocess.Process, log: Path) -> None:
    """Until the bot is connected and its commands are known. Raises what it said instead."""
    ready = asyncio.create_task(server.wait_ready(timeout=120.0, commands=True))
    ended = asyncio.create_task(process.wait())
    await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not ready.done():
        ready.cancel()
        raise AssertionError(f"the bot ended: {_text(log)[-2000:]}")
    await ready


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _weigh(pid: int, figures: Figures) -> None:
    """Note the resident memory of the bot's process, once a second."""
    began = time.monotonic()
    while True:
        figures.memory.append((time.monotonic() - began, resident_mb(pid)))
        await asyncio.sleep(_MEMORY_SECONDS)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory any more")


def seconds_waited(said: list[Said]) -> dict[str, float]:
    """How long people waited for the first sign of an answer; of those that were answered."""
    waited = sorted(one.waited for one in said if one.answers)
    return {"p50": waited[len(waited) // 2], "p99": waited[int(len(waited) * 0.99)]}
