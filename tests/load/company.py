"""The bot in a process of its own, with a fast worker; run by `load_run.py`.

SIGUSR1 holds the worker, SIGUSR2 lets it go on, SIGTERM ends the bot. Its figures go to
`figures.json` in its data folder.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from unittest.mock import patch

from bot import logs
from bot.client import point_at, serve
from bot.delivery import DiscordStage
from bot.startup import company
from config import Config, DatabaseSettings, DiscordSettings, LogSettings, PathSettings
from inference.client import InferenceClient
from tests.load.fast_worker import FastWorker

_LAG_STEP = 0.02  # seconds between two looks at how late the event loop is


class Lateness:
    """How late the event loop comes to what is due, sampled."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_STEP
            await asyncio.sleep(_LAG_STEP)
            self.seconds.append(loop.time() - due)

    def figures(self) -> dict[str, float]:
        ordered = sorted(self.seconds)
        share = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
        return {name: ordered[int(at * (len(ordered) - 1))] for name, at in share.items()}


async def run(data: Path, api_url: str, gateway_url: str, token: str, capacity: int) -> None:
    config = Config(
        paths=PathSettings(data=data, personas=data / "personas"),
        discord=DiscordSettings(api_url=api_url, gateway_url=gateway_url),
        database=DatabaseSettings(busy_timeout_seconds=30.0),
        log=LogSettings(level="WARNING"),
    )
    logs.configure(config.log, token)
    point_at(config.discord)
    tokenizer = (data / "tokenizer.json").read_text(encoding="utf-8")
    workers: list[FastWorker] = []

    def backends(_: Config, client: InferenceClient) -> list[FastWorker]:
        workers.append(FastWorker(client, tokenizer, capacity=capacity))
        return workers

    with patch("inference.client.choose_backends", backends):
        client = InferenceClient(config)
    [worker] = workers
    loop, stop, lateness = asyncio.get_running_loop(), asyncio.Event(), Lateness()
    loop.add_signal_handler(signal.SIGUSR1, worker.hold)
    loop.add_signal_handler(signal.SIGUSR2, worker.go_on)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stage = DiscordStage(config)
    watching = loop.create_task(lateness.watch())
    async with company(config, stage, None, client) as behind:
        await serve(behind, stage, token, stop)
    watching.cancel()
    figures = {"late": lateness.figures(), "written": worker.written, "leaks": worker.leaks}
    (data / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    folder, api, gateway, secret, room = sys.argv[1:]
    asyncio.run(run(Path(folder), api, gateway, secret, int(room)))
