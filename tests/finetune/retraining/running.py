"""One run after the other in a place without a model."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from config import Config
from db.database import Database
from db.runs import Run
from finetune.retraining.means import Lesson
from finetune.retraining.run import Order, retrain
from inference.adapters import AdapterRegistry
from tests.finetune.retraining.light import (
    NAME,
    Stand,
)

Result = TypeVar("Result")
CHAMPION, CHALLENGER = f"{NAME}@1", f"{NAME}@2"


def in_database(config: Config, work: Callable[[Database], Awaitable[Result]]) -> Result:
    async def opened() -> Result:
        async with await Database.open(config.database_file) as database:
            return await work(database)

    return asyncio.run(opened())


def row(config: Config, key: str) -> Run | None:
    return in_database(config, lambda database: database.runs.get(key))


def go(config: Config, stand: Stand | None = None, **order: Any) -> Run:
    said: list[str] = []
    return retrain(
        config,
        Order(**order),
        say=said.append,
        means=(stand or Stand()).means(),
        poll_seconds=0.01,
    )


def serving(config: Config) -> str:
    info = AdapterRegistry(config.adapters_dir).resolve(NAME)
    assert info is not None
    return info.label


class Signalled(Stand):
    """Gets a signal in the middle of its first training."""

    number = signal.SIGTERM

    def train(self, config: Config, settings: Any, lesson: Lesson) -> None:
        if not self.trained:
            self.fails = SystemExit(143)
            try:
                super().train(config, settings, lesson)
            finally:
                self.fails = None
        super().train(config, settings, lesson)
