"""Soft prompts beside LoRA rows and base rows, against PEFT's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from inference.adapters import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterError,
    AdapterRegistry,
    is_soft_prompt,
)
from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.merged_base import find_adapter
from inference.model_loading import LoadedModel
from inference.types import RequestRefused
from tests.inference.engine.conftest import (
    Lora,
    MakeEngine,
    Replies,
    ask,
    describe,
    drain,
    greedy,
    run,
)

PERSONA = [5, 6, 7, 8] * 6


def make_soft_prompt(
    base: PreTrainedModel, folder: Path, *, tokens: int, seed: int, scale: float = 0.5
) -> Lora:
    torch.manual_seed(seed)
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens)
    model: Any = get_peft_model(copy.deepcopy(base), settings)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight, std=scale)
    model.save_pretrained(folder)
    return Lora(model.eval(), describe(folder))


@pytest.fixture(scope="module")
def soft(base: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> list[Lora]:
    """Longer and shorter than a block of the prefix cache, and not a multiple of it."""
    home = tmp_path_factory.mktemp("soft")
    return [
        make_soft_prompt(base, home / f"s{tokens}", tokens=tokens, seed=tokens)
        for tokens in (3, 16, 37)
    ]


def test_a_mixed_batch_says_what_peft_says(
    base: LlamaForCausalLM, loras: list[Lora], soft: list[Lora], engine_of: MakeEngine
) -> None:
    engine, replies = engine_of(base, rows=6), Replies()
    adapters = [*soft, None, *loras[:2]]
    asked = [
        (adapter, ask(str(n), [*PERSONA[: 4 + n], n + 30], adapter.info if adapter else None))
        for n, adapter in enumerate(adapters * 3)
    ]
    waiting = [request for _, request in asked]
    while waiting or engine.active:
        if waiting and engine.free_rows:
            engine.insert(waiting.pop(0))
        replies.take(engine.next())
    for adapter, request in asked:
        model = adapter.model if adapter else base
        assert replies.tokens[request.id] == greedy(model, request.prompt, 20)
    assert {replies.tokens[str(n)][0] for n in range(6)} != {replies.tokens["3"][0]}


def test_the_next_turn_reuses_virtual_tokens_and_text(
    base: LlamaForCausalLM, soft: list[Lora], engine_of: MakeEngine
) -> None:
    for lora, virtual in zip(soft, (3, 16, 37), strict=True):
        engine = engine_of(base)
        first = run(engine, ask("0", PERSONA, lora.info)).tokens["0"]
        prompt = [*PERSONA, *first, 11, 12]
        again = run(engine, ask("1", prompt, lora.info))
        written = virtual + len(PERSONA) + len(first) - 1
        assert again.ends["1"].cached_tokens == written // 16 * 16 - virtual
        assert again.tokens["1"] == greedy(lora.model, prompt, 20)


def test_the_same_text_through_two_soft_prompts_gets_each_its_own_reply(
    base: LlamaForCausalLM, engine_of: MakeEngine, tmp_path: Path
) -> None:
    one, two = (
        make_soft_prompt(base, tmp_path / str(seed), tokens=16, seed=seed) for seed in (1, 2)
    )
    engine = engine_of(base)
    for turn in range(2):
        for lora in (one, two):
            id = f"{turn}{lora.info.name}"
            assert run(engine, ask(id, PERSONA, lora.info)).tokens[id] == greedy(
                lora.model, PERSONA, 20
            )


def test_the_context_counts_virtual_tokens(
    base: LlamaForCausalLM, soft: list[Lora], engine_of: MakeEngine
) -> None:
    engine = engine_of(base)  # a context of 200
    with pytest.raises(RequestRefused, match="170 tokens and its adapter 37 more"):
        engine.insert(ask("0", [5] * 170, soft[2].info))
    replies = run(engine, ask("1", [5] * 160, soft[2].info, logit_bias={2: -100.0}))
    assert len(replies.tokens["1"]) == 200 - 160 - 37
    assert replies.ends["1"].finish == "length"


def test_penalties_do_not_see_virtual_tokens(
    base: LlamaForCausalLM, soft: list[Lora], engine_of: MakeEngine
) -> None:
    """Token 0 stands for them; what forbids a token that was seen must leave it alone."""
    asked: dict[str, Any] = {
        "logit_bias": {0: 100.0},
        "max_new_tokens": 1,
        "no_repeat_ngram": 1,
        "repetition_penalty": 2.0,
        "dry_multiplier": 5.0,
        "dry_allowed_length": 1,
    }
    engine = engine_of(base)
    assert run(engine, ask("0", PERSONA, soft[2].info, **asked)).tokens["0"] == [0]
    assert run(engine, ask("1", [*PERSONA, 0, 9], soft[2].info, **asked)).tokens["1"] != [0]


def test_a_soft_prompt_that_waited_for_memory_goes_on(
    base: LlamaForCausalLM, soft: list[Lora], engine_of: MakeEngine
) -> None:
    engine, replies = engine_of(base, prefix_bytes=0), Replies()
    for n, lora in enumerate(soft):
        engine.insert(ask(str(n), PERSONA, lora.info))
    while len(replies.tokens) < 3:
        replies.take(engine.next())
    forward = engine._forward_pass

    def cramped(step: Any) -> Tensor:
        if step.decode_rows + len(step.segments) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(step)

    engine._forward_pass = cramped
    drain(engine, replies)
    for n, lora in enumerate(soft):
        assert replies.tokens[str(n)] == greedy(lora.model, PERSONA, 20)


def save(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.update(prompt_embeddings=torch.zeros(4, 63)), r"\[4, 63\] where \[tokens, 64"),
        (lambda t: t.update(prompt_embeddings=torch.zeros(0, 64)), "of another size"),
        (lambda t: t.update(extra=torch.zeros(1)), "holds extra beside prompt_embeddings"),
        (lambda t: t.clear(), "holds no prompt_embeddings"),
    ],
)
def test_soft_prompts_that_do_not_fit_are_refused(
    base: LlamaForCausalLM,
    engine_of: MakeEngine,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], object],
    reason: str,
) -> None:
    folder = make_soft_prompt(base, tmp_path / "s", tokens=4, seed=1).info.folder
    save(folder, change)
    with pytest.raises(AdapterError, match=reason):
        engine_of(base).insert(ask("0", [5], describe(folder)))


def test_one_that_diverged_or_was_swapped_ends_its_reply_alone(
    base: LlamaForCausalLM, engine_of: MakeEngine, tmp_path: Path
) -> None:
    published = make_soft_prompt(base, tmp_path / "s", tokens=4, seed=1).info
    save(published.folder, lambda t: t["prompt_embeddings"][0].fill_(torch.nan))
    engine = engine_of(base)
    replies = run(
        engine,
        ask("swapped", [5, 6], published),
        ask("diverged", [5, 6], describe(published.folder)),
        ask("base", [5, 6]),
    )
    assert "not those that were published" in replies.ends["swapped"].error
    assert "not finite numbers" in replies.ends["diverged"].error
    assert replies.tokens["base"] == greedy(base, [5, 6], 20)


def test_other_ways_to_learn_a_prompt_are_refused(
    base: LlamaForCausalLM, engine_of: MakeEngine, tmp_path: Path
) -> None:
    settings = PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(copy.deepcopy(base), settings).save_pretrained(tmp_path / "p")
    with pytest.raises(AdapterError, match=r"is a P_TUNING adapter; only LoRA.*soft prompts"):
        engine_of(base).insert(ask("0", [5], describe(tmp_path / "p")))


def test_the_registry_serves_a_soft_prompt_but_does_not_merge_it(
    base: LlamaForCausalLM, tmp_path: Path
) -> None:
    registry = AdapterRegistry(tmp_path / "adapters")
    staging = registry.staging_folder("brass")
    card = make_soft_prompt(base, staging, tokens=4, seed=1).info.card
    (staging / CARD_FILE).write_text(card.model_dump_json())
    info = registry.publish(staging, "brass")
    assert is_soft_prompt(info)
    assert registry.resolve("brass", card.base_fingerprint) == info
    assert json.loads((info.folder / CONFIG_FILE).read_text())["peft_type"] == "PROMPT_TUNING"
    with pytest.raises(AdapterError, match="brass@1 is a soft prompt, which has no weights"):
        find_adapter("brass", registry, card.base_fingerprint)


def test_the_embedded_model_with_a_soft_prompt_says_what_peft_says(
    embedded: LoadedModel, tmp_path: Path
) -> None:
    soft = make_soft_prompt(embedded.model, tmp_path / "soft", tokens=8, seed=1, scale=0.1)
    settings = EngineSettings(rows=2, context=128, weight_format="float32")
    engine = BatchEngine(embedded.model, frozenset({2}), settings)
    text = "<|im_start|>user\nWhat do you sell?<|im_end|>\n<|im_start|>assistant\n"
    prompt = embedded.tokenizer(text)["input_ids"]
    replies = run(
        engine,
        ask("soft", prompt, soft.info, max_new_tokens=8),
        ask("base", prompt, max_new_tokens=8),
    )
    engine.close()
    assert replies.tokens["soft"] == greedy(soft.model, prompt, 8)
    assert replies.tokens["base"] == greedy(embedded.model, prompt, 8)
