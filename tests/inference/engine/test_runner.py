"""Every kind of LLaMA that transformers loads gives transformers' own logits and tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config

from inference.engine.linears import ModuleLinear
from inference.engine.runner import Runner, _attend_chunk_by_products
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
    _check_against_transformers(kind, engine_of)


@pytest.mark.parametrize("kind", ["grouped queries", "a key head for each query head", "gelu"])
def test_without_compiled_operators_too(
    kind: str, engine_of: MakeEngine, as_on_a_gpu: None
) -> None:
    _check_against_transformers(kind, engine_of)


def _check_against_transformers(kind: str, engine_of: MakeEngine) -> None:
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


@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("kv_heads", [1, 3, 6])
def test_attention_by_products_is_attention(past: int, kv_heads: int) -> None:
    tokens, heads, dim = 7, 6, 8
    generator = torch.Generator().manual_seed(past)
    strip = torch.randn(2, kv_heads, 40, dim, generator=generator)  # longer than the window
    keys, values = strip[:, :, : past + tokens]
    query = torch.randn(tokens, heads * dim, generator=generator)
    mask = torch.full((tokens, past + tokens), -torch.inf).triu_(past + 1)
    expected = nn.functional.scaled_dot_product_attention(
        query.view(1, tokens, heads, dim).transpose(1, 2),
        keys[None],
        values[None],
        attn_mask=mask,
        scale=0.3,
        enable_gqa=True,
    )
    found = _attend_chunk_by_products(query, keys, values, mask, 0.3)
    assert torch.allclose(found, expected[0].transpose(0, 1).reshape(tokens, -1), atol=1e-5)


def test_prompts_in_bfloat16_are_read_as_transformers_reads_them(engine_of: MakeEngine) -> None:
    """Chunks, adapters of few columns and the packed base all take other paths in bfloat16."""
    model = tiny_llama(initializer_range=0.1)
    with torch.no_grad():
        expected = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    engine = engine_of(model, weight_format="bfloat16")
    engine.insert(ask("0", PROMPT, logprobs=5, max_new_tokens=1))
    (event,) = [event for _ in range(3) for event in engine.next()]
    found = torch.tensor([value for _, value in event.top_logprobs])
    assert torch.allclose(found, expected[[token for token, _ in event.top_logprobs]], atol=0.1)
