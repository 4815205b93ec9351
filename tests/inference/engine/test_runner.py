"""Every kind of LLaMA that transformers loads gives transformers' own logits and tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config

from inference.engine.linears import ModuleLinear
from inference.engine.runner import Runner
from inference.types import InferenceError
from tests.inference.engine.conftest import MakeEngine, ask, greedy, run, tiny_llama

KINDS: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one key head": {"num_key_value_heads": 1},
    "a key head for each query head": {"num_key_value_heads": 4},
    "tied head": {"tie_word_embeddings": True},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "wide heads": {"head_dim": 32},
    "gelu": {"hidden_act": "gelu"},
    "rope theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    "llama3 rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "yarn rope": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "dynamic rope": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
}
PROMPT = [5, 9, 17, 33, 65, 129, 3, 44, 81, 7, 12, 200, 150, 31, 8, 99, 101, 54, 6, 77, 18]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_logits_are_those_of_transformers(kind: str, engine_of: MakeEngine) -> None:
    model = tiny_llama(**KINDS[kind])
    with torch.no_grad():
        expected = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    replies = run(engine_of(model), ask("0", PROMPT), ask("1", PROMPT[:5]))
    assert replies.tokens["0"] == greedy(model, PROMPT, 20)
    assert replies.tokens["1"] == greedy(model, PROMPT[:5], 20)
    engine = engine_of(model)
    engine.insert(ask("2", PROMPT, logprobs=5, max_new_tokens=1))
    (event,) = [event for _ in range(3) for event in engine.next()]
    best = expected.topk(5)
    assert [token for token, _ in event.top_logprobs] == best.indices.tolist()
    assert [value for _, value in event.top_logprobs] == pytest.approx(
        best.values.tolist(), abs=1e-4
    )
    assert event.logprob == pytest.approx(event.top_logprobs[0][1])


def test_dynamic_rope_ends_where_its_angles_would_change() -> None:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 4.0,
        "short_factor": [1.0] * 8,
        "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 64,
    }
    model = tiny_llama(rope_parameters=rope)
    runner = Runner(model, rows=1, context=256, form="float32", columns=16)
    assert runner.context == 64


def test_weights_that_cannot_be_joined_are_called_as_modules(engine_of: MakeEngine) -> None:
    class Opaque(nn.Linear):
        """Stands for bitsandbytes' quantised linears."""

    model = tiny_llama(attention_bias=True)
    for module in list(model.modules()):
        for child in list(module.children()):
            if type(child) is nn.Linear:
                child.__class__ = Opaque
    engine = engine_of(model)
    assert isinstance(engine._runner._head, ModuleLinear)
    assert run(engine, ask("0", PROMPT)).tokens["0"] == greedy(model, PROMPT, 20)


def test_other_architectures_are_refused() -> None:
    model = tiny_llama()
    model.config = GPT2Config()  # type: ignore[assignment]
    with pytest.raises(InferenceError, match=r"LLaMA family, not 'gpt2'"):
        Runner(model, rows=1, context=64, form="float32", columns=16)
