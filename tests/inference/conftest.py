"""Models for the inference tests: the embedded one, and tiny random LLaMAs with its tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from config import Config, InferenceSettings, ModelSettings
from inference.client import InferenceClient
from inference.model_loading import LoadedModel, load_model
from tests.conftest import MODELS, config_in


@pytest.fixture(scope="session")
def tiny_folder(embedded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of 2 layers with random weights and the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    embedded.tokenizer.save_pretrained(folder)
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
