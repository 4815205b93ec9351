"""Tiny random LLaMAs, adapters that PEFT itself writes, and transformers as the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from inference.adapters import AdapterCard, AdapterInfo, weights_hash
from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.engine.interface import EngineRequest, TokenEvent
from inference.types import Sampling

END = 2
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tiny_llama(**changes: Any) -> LlamaForCausalLM:
    """Random weights, large enough that no two tokens are nearly as likely."""
    settings: dict[str, Any] = {
        "vocab_size": 211,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": END,
        "pad_token_id": 0,
        **changes,
    }
    torch.manual_seed(0)
    model: LlamaForCausalLM = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.3)
    return model


@dataclass(frozen=True)
class Lora:
    """An adapter as PEFT applies it, and as the engine reads it."""

    model: Any
    info: AdapterInfo


def make_lora(
    base: PreTrainedModel, folder: Path, *, seed: int, version: int = 1, **changes: Any
) -> Lora:
    settings: dict[str, Any] = {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": LINEARS,
        "init_lora_weights": False,
        **changes,
    }
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(**settings))
    model.save_pretrained(folder)
    return Lora(model.eval(), describe(folder, version))


def describe(folder: Path, version: int = 1) -> AdapterInfo:
    card = AdapterCard(
        base_model="tiny",
        base_fingerprint="tiny",
        prompt_format="chatml",
        weights_hash=weights_hash(folder),
    )
    return AdapterInfo(folder.name, version, folder, True, card)


def greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """What transformers says, up to but without the end token."""
    ids = torch.tensor([list(prompt)])
    whole = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=END,
        pad_token_id=0,
    )
    reply: list[int] = whole[0, len(prompt) :].tolist()
    return reply[: reply.index(END)] if END in reply else reply


def make_engine(model: LlamaForCausalLM, **changes: Any) -> BatchEngine:
    settings: dict[str, Any] = {
        "rows": 4,
        "context": 200,
        "weight_format": "float32",
        "prefill_chunk": 7,
        "idle_prefill_chunk": 16,
        "adapter_columns": 64,
        **changes,
    }
    return BatchEngine(model, {END}, EngineSettings(**settings))


def ask(
    id: str,
    prompt: Sequence[int],
    adapter: AdapterInfo | None = None,
    seed: int = 0,
    **sampling: Any,
) -> EngineRequest:
    settings = {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 20, **sampling}
    return EngineRequest(id, tuple(prompt), Sampling(**settings), seed, adapter)


class Replies:
    """Collects events; a reply that ends twice, or speaks after its end, fails the test."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[int]] = {}
        self.ends: dict[str, TokenEvent] = {}

    def take(self, events: list[TokenEvent]) -> None:
        for event in events:
            assert event.id not in self.ends, f"{event.id} went on after its end"
            tokens = self.tokens.setdefault(event.id, [])
            if event.token is not None:
                tokens.append(event.token)
            if event.finish is not None:
                self.ends[event.id] = event


def drain(engine: BatchEngine, replies: Replies | None = None) -> Replies:
    """Step until no row is left."""
    replies = replies or Replies()
    for _ in range(10_000):
        if not engine.active:
            return replies
        replies.take(engine.next())
    raise AssertionError("the engine does not come to an end")


def run(engine: BatchEngine, *requests: EngineRequest) -> Replies:
    for request in requests:
        engine.insert(request)
    return drain(engine)


@pytest.fixture(scope="session")
def base() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="session")
def loras(base: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> list[Lora]:
    """Four adapters that differ in rank, alpha, scaling rule and targets."""
    home = tmp_path_factory.mktemp("adapters")
    kinds: list[dict[str, Any]] = [
        {"r": 8, "lora_alpha": 16},
        {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]},
        {
            "r": 16,
            "lora_alpha": 4,
            "rank_pattern": {"q_proj": 3},
            "alpha_pattern": {"down_proj": 7, r"layers\.1\..*up_proj": 9},
        },
        {"r": 2, "lora_alpha": 2, "target_modules": ["gate_proj", "down_proj", "k_proj"]},
    ]
    return [
        make_lora(base, home / f"a{index}", seed=index, **kind) for index, kind in enumerate(kinds)
    ]


MakeEngine = Callable[..., BatchEngine]


@pytest.fixture
def engine_of() -> Any:
    """`engine_of(model, rows=4, …)`: an engine that is closed after the test."""
    opened: list[BatchEngine] = []

    def make(model: LlamaForCausalLM, **changes: Any) -> BatchEngine:
        opened.append(make_engine(model, **changes))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines made from here on use torch's operators, as where there are no compiled ones."""
    monkeypatch.setattr("inference.engine.operators.are_compiled", lambda *_: False)
