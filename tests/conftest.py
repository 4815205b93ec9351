"""Fixtures shared by all rooms: the embedded model, random adapters, configurations for tests.

Heavy libraries are imported where they are used, so that tests without a model start at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config import Config, LimitSettings, ModelSettings, PathSettings
from inference.adapters import AdapterCard, AdapterInfo, AdapterRegistry, weights_hash

if TYPE_CHECKING:
    from inference.model_loading import LoadedModel

# Tests share the machine with the processes that they start, and OpenMP threads that wait for one
# another on a busy machine are many times slower than one thread alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parent.parent
MODELS = REPOSITORY / "data" / "models"  # unpacked once, by `make run` or by the first test run

MakeConfig = Callable[..., Config]
MakeAdapter = Callable[..., AdapterInfo]


def config_in(data: Path, **sections: object) -> Config:
    """A configuration whose data lie in `data`, with the unpacked models of this checkout."""
    data.mkdir(parents=True, exist_ok=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    if not (data / "models").exists():
        (data / "models").symlink_to(MODELS)
    values = {
        "paths": PathSettings(data=data, personas=data / "personas"),
        "limits": LimitSettings(replies_per_minute=0, replies_per_hour=0),  # tests talk fast
        **sections,
    }
    return Config.model_validate(values)


def save_tiny_llama(folder: Path, embedded: LoadedModel, **changes: object) -> None:
    """A LLaMA of 2 layers with random weights and the embedded model's tokenizer, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": len(embedded.tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    LlamaForCausalLM(LlamaConfig.from_dict({**shape, **changes})).save_pretrained(folder)
    embedded.tokenizer.save_pretrained(folder)


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """`make_config(model=ModelSettings(...), ...)`: a configuration with its own data folder."""
    return lambda **sections: config_in(tmp_path / "data", **sections)


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    """The embedded model, in this process."""
    from inference.model_loading import load_model

    return load_model(ModelSettings(device="cpu"), MODELS)


@pytest.fixture(scope="session")
def make_adapter() -> MakeAdapter:
    """`make_adapter(loaded, registry, name, seed=0, scale=0.3)`: publish a random LoRA adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import LlamaForCausalLM

    def make(
        loaded: LoadedModel,
        registry: AdapterRegistry,
        name: str,
        *,
        seed: int = 0,
        scale: float = 0.3,
    ) -> AdapterInfo:
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"])
        assert isinstance(loaded.model, LlamaForCausalLM)
        fresh = LlamaForCausalLM(loaded.model.config)
        staging = registry.staging_folder(name)
        get_peft_model(fresh, settings).save_pretrained(staging)
        weights = staging / "adapter_model.safetensors"
        tensors = load_file(weights)  # PEFT starts B at zero; a real adapter does not stay there
        for key, tensor in tensors.items():
            if "lora_B" in key:
                tensors[key] = torch.randn_like(tensor) * scale
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
