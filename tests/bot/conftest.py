"""A company with a scripted model: on a stage that keeps what it is shown, and in Discord."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from bot.casting import Overrides
from bot.incoming import Incoming, Place
from bot.startup import Company, company
from config import Config
from tests.bot.scripted import ScriptedClient, ScriptedStage

GENERAL = Place("discord:1", "general", "guild", "discord:99")
MARKET = Place("discord:2", "market", "guild", "discord:99")
DIRECT = Place("discord:3", "Ann", "dm")


@dataclass
class Scene:
    """A running company without a front end."""

    behind: Company
    client: ScriptedClient
    stage: ScriptedStage
    posts: int = 100

    async def say(self, content: str, place: Place = GENERAL, **more: object) -> Incoming:
        """Let somebody say something; addressed to the bot unless told otherwise."""
        incoming = self.made(content, place, **more)
        await self.behind.turns.hear(incoming)
        return incoming

    def made(self, content: str, place: Place = GENERAL, **more: object) -> Incoming:
        """What a front end would make of it."""
        self.posts += 1
        fields: dict[str, object] = {
            "place": place,
            "author_key": "discord:500",
            "author_name": "Ann",
            "content": content,
            "created_at": time.time(),
            "post_id": self.posts,
            "addressed": True,
        }
        return Incoming(**{**fields, **more})  # type: ignore[arg-type]

    async def settled(self) -> None:
        await self.behind.turns.idle()

    @property
    def replies(self) -> list[str]:
        return [text for _, text in self.stage.shown.replies]

    @property
    def notices(self) -> list[str]:
        return [text for _, text in self.stage.shown.notices]

    def prompt(self, number: int = -1) -> list[tuple[str, str]]:
        """The messages of a request after the system message: (role, content)."""
        return [(m.role, m.content) for m in self.client.requests[number].messages[1:]]


@asynccontextmanager
async def scene_in(config: Config, overrides: Overrides | None = None) -> AsyncIterator[Scene]:
    """A company on the database of `config`; opened again, it is the same company restarted."""
    client, stage = ScriptedClient(config.adapters_dir), ScriptedStage()
    async with company(config, stage, overrides, client) as behind:
        await behind.load_model()
        yield Scene(behind, client, stage)


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    return make_config()


@pytest.fixture
async def scene(config: Config) -> AsyncIterator[Scene]:
    async with scene_in(config) as opened:
        yield opened
