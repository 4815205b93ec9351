"""Models for the inference tests: the embedded one, and tiny random LLaMAs with its tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config import Config, InferenceSettings, ModelSettings
from inference.client import InferenceClient
from inference.model_loading import LoadedModel, load_model
from tests.conftest import MODELS, config_in, save_tiny_llama


@pytest.fixture(scope="session")
def tiny_folder(embedded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with room for long replies, its weights so large that no two tokens tie."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder, embedded, max_position_embeddings=8192, initializer_range=0.5)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> LoadedModel:
    return load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)


def tiny_config(data: Path, tiny_folder: Path, **inference: object) -> Config:
    return config_in(
        data,
        model=ModelSettings(base=str(tiny_folder), device="cpu"),
        inference=InferenceSettings.model_validate(inference),
    )


@pytest.fixture(scope="session")
async def client(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InferenceClient]:
    """A client with a real worker process that holds the tiny model."""
    config = tiny_config(tmp_path_factory.mktemp("client"), tiny_folder, rows=2)
    client = InferenceClient(config)
    async with asyncio.timeout(120):
        await client.start()
    yield client
    await client.close()
