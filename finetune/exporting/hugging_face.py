"""A model folder as Hugging Face's libraries read it."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from finetune.errors import TrainingError
from finetune.exporting.merging import Merged, logits
from finetune.exporting.verification import Verification, verify, verify_tokens


def write(merged: Merged, folder: Path, dtype: torch.dtype, shard_size: str) -> None:
    """Write safetensors of at most `shard_size`, configuration and tokenizer to `folder`."""
    model = _fresh(merged.model, dtype)
    model.generation_config = GenerationConfig(
        bos_token_id=merged.tokenizer.bos_token_id,
        eos_token_id=list(merged.end_ids),
        pad_token_id=merged.tokenizer.pad_token_id,
    )
    model.save_pretrained(folder, max_shard_size=shard_size)
    merged.tokenizer.save_pretrained(folder)


def read_back(merged: Merged, folder: Path, dtype: torch.dtype) -> Verification:
    """Load `folder` as a user would, and compare; raises `TrainingError` if it is not the same."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    verify_tokens(merged, tokenizer(merged.text)["input_ids"])
    if tokenizer.chat_template != merged.tokenizer.chat_template:
        raise TrainingError("The exported chat template is not the one of the model's prompts.")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return verify(merged, logits(model, merged.ids), dtype)


def _fresh(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same weights in another object: what came from a GGUF file refuses to be saved."""
    config = copy.deepcopy(model.config)
    config.dtype = dtype
    with torch.device("meta"):
        fresh = type(model)(config)
    weights = {name: weight.to(dtype) for name, weight in model.state_dict().items()}
    fresh.load_state_dict(weights, assign=True)
    fresh.tie_weights()
    return fresh
