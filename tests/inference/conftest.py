"""Models for the inference tests: the embedded one, and tiny random LLaMAs with its tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from config import Config, InferenceSettings, ModelSettings
from inference.adapters import AdapterCard, AdapterInfo, AdapterRegistry, weights_hash
from inference.client import InferenceClient
from inference.model_loading import LoadedModel, load_model
from tests.conftest import MODELS, config_in

MakeAdapter = Callable[..., AdapterInfo]


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    """The embedded model, in this process."""
    return load_model(ModelSettings(device="cpu"), MODELS)


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


@pytest.fixture(scope="session")
def make_adapter() -> MakeAdapter:
    """`make_adapter(loaded, registry, name, seed=0, rank=4)`: publish a random LoRA adapter."""

    def make(
        loaded: LoadedModel, registry: AdapterRegistry, name: str, *, seed: int = 0, rank: int = 4
    ) -> AdapterInfo:
        torch.manual_seed(seed)
        settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "down_proj"])
        assert isinstance(loaded.model, LlamaForCausalLM)
        fresh = LlamaForCausalLM(loaded.model.config)
        staging = registry.staging_folder(name)
        get_peft_model(fresh, settings).save_pretrained(staging)
        weights = staging / "adapter_model.safetensors"
        tensors = load_file(weights)  # PEFT starts B at zero; a real adapter does not stay there
        for key, tensor in tensors.items():
            if "lora_B" in key:
                tensors[key] = torch.randn_like(tensor) * 0.3
        save_file(tensors, weights, metadata={"format": "pt"})
        card = AdapterCard(
            base_model=loaded.info.name,
            base_fingerprint=loaded.info.fingerprint,
            prompt_format=loaded.info.prompt_format,
            weights_hash=weights_hash(staging),
        )
        (staging / "troupe.json").write_text(card.model_dump_json())
        return registry.publish(staging, name)

    return make


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
    config = tiny_config(tmp_path_factory.mktemp("client"), tiny_folder)
    client = InferenceClient(config)
    async with asyncio.timeout(120):
        await client.start()
    yield client
    await client.close()
