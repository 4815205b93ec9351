"""Adapters that rows cannot share are refused with the reason, and nothing is left unapplied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM

from inference.adapters import CONFIG_FILE, WEIGHTS_FILE, AdapterError
from tests.inference.engine.conftest import (
    LINEARS,
    Lora,
    MakeEngine,
    ask,
    describe,
    drain,
    greedy,
    make_lora,
    run,
    tiny_llama,
)

ATTENTION = "base_model.model.model.layers.0.self_attn."


def change_settings(folder: Path, **changes: Any) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


@pytest.fixture
def lora(base: LlamaForCausalLM, tmp_path: Path) -> Lora:
    return make_lora(base, tmp_path / "adapter", seed=3)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "uses DoRA and cannot be mixed with others; merge it"),
        ({"modules_to_save": ["lm_head"]}, "replaces whole modules"),
        ({"trainable_token_indices": [1]}, "changes token embeddings"),
        ({"bias": "all"}, "trains biases"),
        ({"peft_type": "IA3"}, "is a IA3 adapter"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4, which changes the base model"),
        ({"layer_replication": [[0, 2]]}, "replicates layers"),
    ],
)
def test_settings_that_cannot_be_mixed_are_refused(
    base: LlamaForCausalLM,
    lora: Lora,
    engine_of: MakeEngine,
    settings: dict[str, Any],
    reason: str,
) -> None:
    change_settings(lora.info.folder, **settings)
    engine = engine_of(base)
    with pytest.raises(AdapterError, match=reason):
        engine.insert(ask("0", [5], lora.info))
    assert engine.active == 0


def test_real_dora_embedding_and_head_adapters_are_refused(
    base: LlamaForCausalLM, engine_of: MakeEngine, tmp_path: Path
) -> None:
    engine = engine_of(base)
    kinds: list[tuple[dict[str, Any], str]] = [
        ({"use_dora": True}, "DoRA"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "token embeddings"),
        ({"target_modules": ["lm_head", "q_proj"]}, r"lm_head.*no layer of this model can apply"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ]
    for number, (kind, reason) in enumerate(kinds):
        info = make_lora(base, tmp_path / str(number), seed=1, **kind).info
        with pytest.raises(AdapterError, match=reason):
            engine.insert(ask("0", [5], info))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(ATTENTION + "q_proj.lora_A.weight"), "only half of the LoRA pair"),
        (lambda t: t.update({"extra": torch.zeros(1)}), "holds extra, which no layer"),
        (
            lambda t: t.update({ATTENTION + "w_proj.lora_A.weight": torch.zeros(8, 64)}),
            "w_proj.lora_A.weight, which no layer",
        ),
        (
            lambda t: t.update(
                {ATTENTION.replace("0", "7") + "q_proj.lora_A.weight": torch.ones(1)}
            ),
            "the model has 3 layers",
        ),
        (
            lambda t: t.update({ATTENTION + "q_proj.lora_A.weight": torch.zeros(8, 63)}),
            "made for a model of another size",
        ),
        (lambda t: t.clear(), "no LoRA tensors"),
    ],
)
def test_every_tensor_of_the_file_must_find_its_place(
    base: LlamaForCausalLM,
    lora: Lora,
    engine_of: MakeEngine,
    change: Callable[[dict[str, Tensor]], object],
    reason: str,
) -> None:
    change_weights(lora.info.folder, change)
    with pytest.raises(AdapterError, match=reason):
        engine_of(base).insert(ask("0", [5], describe(lora.info.folder)))


def test_weights_that_were_not_published_or_diverged_end_their_reply_alone(
    base: LlamaForCausalLM, lora: Lora, engine_of: MakeEngine
) -> None:
    published = lora.info
    name = ATTENTION + "q_proj.lora_A.weight"
    change_weights(published.folder, lambda tensors: tensors[name][0].fill_(torch.inf))
    engine = engine_of(base)
    engine.insert(ask("swapped", [5, 6], published))
    engine.insert(ask("diverged", [5, 6], describe(published.folder)))
    engine.insert(ask("base", [5, 6]))
    replies = drain(engine)
    assert "not those that were published" in replies.ends["swapped"].error
    assert "not finite numbers" in replies.ends["diverged"].error
    assert replies.tokens["base"] == greedy(base, [5, 6], 20)


def test_broken_files_are_refused(
    base: LlamaForCausalLM, lora: Lora, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    (lora.info.folder / WEIGHTS_FILE).write_bytes(b"nothing of the kind")
    with pytest.raises(AdapterError, match="weights of adapter adapter@1 cannot be read"):
        engine.insert(ask("0", [5], lora.info))
    (lora.info.folder / CONFIG_FILE).write_text("[")
    with pytest.raises(AdapterError, match=r"adapter_config\.json of adapter adapter@1"):
        engine.insert(ask("0", [5], lora.info))


def test_the_same_weights_under_another_alpha_are_another_adapter(
    base: LlamaForCausalLM, lora: Lora, engine_of: MakeEngine, tmp_path: Path
) -> None:
    strong = make_lora(base, tmp_path / "strong", seed=3, lora_alpha=64)
    assert strong.info.card.weights_hash == lora.info.card.weights_hash
    engine = engine_of(base)
    prompt = [5, 6, 7, 8] * 9
    for one in (lora, strong, lora):
        assert run(engine, ask("0", prompt, one.info)).tokens["0"] == greedy(one.model, prompt, 20)


def test_projections_with_rank_one_and_biased_bases_work(
    engine_of: MakeEngine, tmp_path: Path
) -> None:
    model = tiny_llama(attention_bias=True, mlp_bias=True, num_key_value_heads=1)
    one = make_lora(model, tmp_path / "one", seed=5, r=1, lora_alpha=3, target_modules=LINEARS)
    assert run(engine_of(model), ask("0", [7, 8, 9], one.info)).tokens["0"] == greedy(
        one.model, [7, 8, 9], 20
    )
