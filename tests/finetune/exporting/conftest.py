"""Tiny models of several kinds, random adapters for them, and what both say together."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from config import Config, ModelSettings
from inference.adapters import AdapterCard, AdapterInfo, AdapterRegistry, weights_hash
from inference.model_loading import LoadedModel, load_model
from inference.prompt_format import TEMPLATES
from tests.conftest import MODELS, REPOSITORY, config_in

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXT = "A tide of 1204 barrels,\n\n  你好 “quay” Ça va?"


class Workshop:
    """A configuration for one base model, and a registry to publish adapters in."""

    def __init__(self, folder: Path, base: Path, **model: Any) -> None:
        settings = {"base": str(base), "device": "cpu", **model}
        self.config: Config = config_in(
            folder / "data", model=ModelSettings.model_validate(settings)
        )
        self.base = base
        self.registry = AdapterRegistry(self.config.adapters_dir)

    def load(self) -> LoadedModel:
        return load_model(self.config.model, MODELS)

    def publish(self, name: str, *, scale: float = 0.3, **settings: Any) -> AdapterInfo:
        """A random LoRA adapter on all linear layers; `settings` are LoraConfig's."""
        torch.manual_seed(len(name))
        wanted = {"r": 4, "lora_alpha": 8, "target_modules": LINEARS, **settings}
        return self._publish(name, LoraConfig(task_type="CAUSAL_LM", **wanted), scale)

    def publish_prompt(self, name: str) -> AdapterInfo:
        return self._publish(
            name, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), 0.0
        )

    def _publish(self, name: str, settings: Any, scale: float) -> AdapterInfo:
        staging = self.registry.staging_folder(name)
        model: Any = LlamaForCausalLM.from_pretrained(self.base)
        get_peft_model(model, settings).save_pretrained(staging)
        weights = staging / "adapter_model.safetensors"
        tensors = load_file(weights)  # PEFT starts with no change; a real adapter has some
        for key, tensor in tensors.items():
            if "lora_B" in key or "lora_embedding_A" in key:
                tensors[key] = torch.randn_like(tensor) * scale
        save_file(tensors, weights, metadata={"format": "pt"})
        info = self.load().info
        card = AdapterCard(
            base_model=info.name,
            base_fingerprint=info.fingerprint,
            prompt_format=info.prompt_format,
            weights_hash=weights_hash(staging),
        )
        (staging / "troupe.json").write_text(card.model_dump_json())
        return self.registry.publish(staging, name)

    def logits(self, adapter: AdapterInfo | None, text: str = TEXT) -> Tensor:
        """What base and adapter, side by side, say after each token of `text`."""
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        model: Any = LlamaForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter.folder))
        return said(model, tokenizer, text)


def said(model: Any, tokenizer: Any, text: str = TEXT) -> Tensor:
    with torch.inference_mode():
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        return torch.as_tensor(model.eval()(ids).logits[0])


MakeWorkshop = Callable[..., Workshop]
_SHAPE = {
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


@pytest.fixture(scope="session")
def byte_level() -> PreTrainedTokenizerBase:
    """A small vocabulary of SmolLM2's kind: writing and reading 49152 tokens takes seconds."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    made.train_from_iterator((REPOSITORY / "README.md").read_text("utf-8").splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = (TEMPLATES / "chatml.jinja").read_text("utf-8")
    return tokenizer


@pytest.fixture
def make_workshop(tmp_path: Path, byte_level: PreTrainedTokenizerBase) -> MakeWorkshop:
    """`make_workshop(tie_word_embeddings=False, ...)`: a tiny LLaMA of that configuration."""

    def make(model: dict[str, Any] | None = None, **shape: Any) -> Workshop:
        base = tmp_path / "base"
        torch.manual_seed(0)
        config = LlamaConfig.from_dict({**_SHAPE, "vocab_size": len(byte_level), **shape})
        LlamaForCausalLM(config).save_pretrained(base)
        byte_level.save_pretrained(base)
        return Workshop(tmp_path, base, **(model or {}))

    return make


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop()


@pytest.fixture(scope="session")
def sentencepiece_model() -> bytes:
    """A vocabulary made as LLaMA 2's was: BPE, digits apart, bytes for what it never saw."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((REPOSITORY / "README.md").read_text("utf-8").splitlines()),
        model_writer=made,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return made.getvalue()


@pytest.fixture
def sentencepiece_workshop(
    tmp_path: Path, make_workshop: MakeWorkshop, sentencepiece_model: bytes
) -> Workshop:
    """A tiny LLaMA with such a vocabulary, and more rows of embeddings than tokens."""
    workshop = make_workshop({"prompt_format": "llama2"}, vocab_size=912, tie_word_embeddings=False)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (workshop.base / file).unlink(missing_ok=True)
    (workshop.base / "tokenizer.model").write_bytes(sentencepiece_model)
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    (workshop.base / "tokenizer_config.json").write_text(json.dumps(settings))
    return workshop
