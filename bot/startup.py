"""What both front ends need before the first word: settings, memory, cast, model.

In this order, so that a mistake in the settings is told before the model takes its time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dotenv import dotenv_values

import config as configuration
from bot import logs
from bot.casting import Casting, Overrides
from bot.commands import Commands, Inference
from bot.rehearsing import Rehearsing, Worker
from bot.reply import Generator
from bot.retention import Retention
from bot.stage import Stage
from bot.turn import Turns
from config import Config, ConfigError
from db.database import Database, DatabaseError
from inference.client import InferenceClient
from inference.types import InferenceError
from persona_prompts.cast import SHIPPED, Cast
from persona_prompts.character import CharacterError

log = logging.getLogger(__name__)

TOKEN = "DISCORD_TOKEN"


class StartupError(Exception):
    """The bot cannot start; the message is one sentence that says what to change."""


class Unavailable(StartupError):
    """Something outside, which may work at another time, does not work now."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration and the one secret."""

    config: Config
    token: str | None


class Model(Generator, Inference, Worker, Protocol):
    """What a company needs of `inference.client.InferenceClient`; tests bring their own."""

    async def start(self, on_progress: Callable[[str], None] | None = None) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Company:
    """Everything behind a front end. `ready` is set once the model can answer."""

    config: Config
    database: Database
    casting: Casting
    client: Model
    turns: Turns
    commands: Commands
    ready: asyncio.Event
    rehearsing: Rehearsing

    async def load_model(self, on_progress: Callable[[str], None] | None = None) -> None:
        """Start the model. Raises `StartupError` if it, or the chosen adapter, cannot be used."""
        await self.rehearsing.over(on_progress or log.info)
        try:
            await self.client.start(on_progress)
            self.client.adapters.resolve(self._adapter, self.client.info.fingerprint)
        except InferenceError as error:
            raise StartupError(str(error)) from None
        self.ready.set()
        self.rehearsing.start()

    @property
    def _adapter(self) -> str:
        return self.casting.overrides.adapter or self.config.bot.adapter


def read_settings(path: Path | None) -> Settings:
    """Read `.env` and the configuration, and start logging. Raises `StartupError`."""
    folders = [(path or configuration.DEFAULT_PATH).resolve().parent, Path.cwd()]
    _load_environment(folders)
    # Taken out of the environment, so that no child process inherits it.
    token = os.environ.pop(TOKEN, "").strip() or None
    try:
        config = configuration.load(path)
    except ConfigError as error:
        raise StartupError(str(error)) from None
    logs.configure(config.log, token or "")
    return Settings(config, token)


def _load_environment(folders: list[Path]) -> None:
    """Take over what `.env` files say, the first folder's first; the environment wins."""
    for folder in dict.fromkeys(folders):
        file = folder / ".env"
        try:
            values = dotenv_values(file)
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"{file} cannot be read: {error}.") from None
        for name, value in values.items():
            if value is not None:
                os.environ.setdefault(name, value)


def check(config: Config, casting: Casting) -> None:
    """Raise `StartupError` for settings that name something that is not there."""
    try:
        casting.cast.get(config.bot.persona)
        if casting.overrides.persona is not None:
            casting.cast.get(casting.overrides.persona)
        wanted = casting.overrides.adapter
        casting.adapters.resolve(config.bot.adapter if wanted is None else wanted)
    except (CharacterError, InferenceError) as error:
        raise StartupError(str(error)) from None
    for problem in casting.cast.problems:
        log.warning("%s", problem)


@asynccontextmanager
async def company(
    config: Config,
    stage: Stage,
    overrides: Overrides | None = None,
    client: Model | None = None,
) -> AsyncIterator[Company]:
    """Everything but the front end and a loaded model, closed again in the end.

    Raises `StartupError` in one sentence for settings or a database that cannot be used.
    """
    client = client or InferenceClient(config)
    cast = Cast(SHIPPED, config.paths.personas)
    casting = Casting(config, cast, client.adapters, overrides)
    check(config, casting)
    try:
        database = await Database.open(
            config.database_file, busy_timeout_seconds=config.database.busy_timeout_seconds
        )
    except DatabaseError as error:
        raise StartupError(str(error)) from None
    ready = asyncio.Event()
    turns = Turns(config, database, casting, client, stage, ready=ready)
    commands = Commands(config, database, casting, client, turns)
    rehearsing = Rehearsing(config, database, casting, client, turns, stage, ready)
    retention = Retention(config, database, turns)
    try:
        try:
            await turns.blocking.load()
            await retention.open()
        except DatabaseError as error:
            raise StartupError(str(error)) from None
        turns.keeper.catch_up()
        yield Company(config, database, casting, client, turns, commands, ready, rehearsing)
    finally:
        await retention.close()
        await rehearsing.close()
        await turns.close()
        await client.close()
        await database.close()
