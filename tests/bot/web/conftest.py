"""A house with a scripted model, and visits to it that need no browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.startup import Model, company
from bot.web.models import Models
from bot.web.stage import WebStage
from bot.web.visit import House, Visit
from config import Config
from inference.adapters import OWN_FORMAT, AdapterRegistry
from tests.bot.scripted import INFO, ScriptedClient

TOKEN = "0123456789abcdef0123456789abcdef"


class Scripted:
    """Makes the scripted client of every model that is loaded, and keeps them by name."""

    def __init__(self) -> None:
        self.clients: dict[str, ScriptedClient] = {}
        self.errors: dict[str, Exception] = {}

    def __call__(self, config: Config) -> Model:
        client = ScriptedClient(config.adapters_dir)
        client.info = INFO.model_copy(
            update={"fingerprint": shipped_fingerprint(), "prompt_format": OWN_FORMAT}
        )
        client.start_error = self.errors.get(config.model.base)
        self.clients[config.model.base] = client
        return client


def shipped_fingerprint() -> str:
    """Of the model that the shipped adapter is for."""
    shipped = AdapterRegistry(Path("nowhere")).resolve("default@0")
    assert shipped is not None
    return shipped.card.base_fingerprint


@asynccontextmanager
async def house_in(
    config: Config,
    scripted: Scripted,
    *,
    public: bool = False,
    others: tuple[str, ...] = (),
) -> AsyncIterator[House]:
    """A house on the database of `config`; opened again, it is the same one restarted."""
    stage, models = WebStage(), Models(config, others, scripted)
    async with company(config, stage, client=models) as behind:
        await behind.load_model()
        yield House(behind, stage, models, public)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
async def house(config: Config, scripted: Scripted) -> AsyncIterator[House]:
    async with house_in(config, scripted) as opened:
        yield opened


@pytest.fixture
def client(house: House, scripted: Scripted) -> ScriptedClient:
    """The model's stand-in."""
    return scripted.clients[house.models.current]


@pytest.fixture
async def visit(house: House) -> Visit:
    """Somebody who just opened the page."""
    visit = house.visit(TOKEN)
    await visit.chat.open("Ann")
    return visit
