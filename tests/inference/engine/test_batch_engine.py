"""The batch as a whole: mixed adapters, joins and leaves, reuse of prefixes, faults."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from inference.adapters import AdapterError
from inference.engine.interface import EngineRequest
from inference.engine.runner import Pass
from inference.types import RequestRefused
from tests.inference.engine.conftest import (
    Lora,
    MakeEngine,
    Replies,
    ask,
    drain,
    greedy,
    make_lora,
    run,
)

PERSONA = [5, 6, 7, 8] * 6


def words(rng: random.Random, most: int) -> list[int]:
    return [rng.randrange(3, 211) for _ in range(rng.randrange(1, most))]


def test_a_mixed_batch_says_what_transformers_and_peft_say(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    rng = random.Random(1)
    engine, replies = engine_of(base, rows=8), Replies()
    adapters = [None, *loras]
    asked = [
        (adapter, ask(str(n), PERSONA + words(rng, 60), adapter.info if adapter else None))
        for n, adapter in enumerate(adapters * 5)
    ]
    waiting = [request for _, request in asked]
    rng.shuffle(waiting)
    widest = 0
    while waiting or engine.active:
        while waiting and engine.free_rows and rng.random() < 0.4:
            engine.insert(waiting.pop())
        replies.take(engine.next())
        widest = max(widest, engine.active)
    assert widest == 8
    assert engine.stats().prefix_hit_tokens > 0
    for adapter, request in asked:
        model = adapter.model if adapter else base
        assert replies.tokens[request.id] == greedy(model, request.prompt, 20)


def test_adapters_that_come_while_others_are_at_work(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine, replies = engine_of(base, rows=8), Replies()
    for n in range(8):
        engine.insert(ask(str(n), [*PERSONA, n + 20], loras[n % 4].info, max_new_tokens=6 + 2 * n))
        replies.take(engine.next())
    drain(engine, replies)
    for n in range(8):
        expected = greedy(loras[n % 4].model, [*PERSONA, n + 20], 6 + 2 * n)
        assert replies.tokens[str(n)] == expected


def test_the_next_turn_costs_only_its_new_tokens(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    first = run(engine, ask("0", [*PERSONA, 9, 10], loras[0].info)).tokens["0"]
    prompt = [*PERSONA, 9, 10, *first, 11, 12, 13]
    again = run(engine, ask("1", prompt, loras[0].info))
    assert again.ends["1"].cached_tokens == (len(PERSONA) + 2 + len(first) - 1) // 16 * 16
    assert again.tokens["1"] == greedy(loras[0].model, prompt, 20)
    fresh = run(engine_of(base, prefix_bytes=0), ask("1", prompt, loras[0].info))
    assert fresh.tokens == again.tokens
    assert fresh.ends["1"].cached_tokens == 0


def test_a_persona_is_shared_between_channels_of_one_adapter(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    run(engine, ask("0", [*PERSONA, 9], loras[0].info))
    ends = run(
        engine, ask("1", [*PERSONA, 77], loras[0].info), ask("2", [*PERSONA, 77], loras[1].info)
    ).ends
    assert (ends["1"].cached_tokens, ends["2"].cached_tokens) == (16, 0)


def test_the_same_text_through_two_adapters_and_two_versions_gets_each_its_own_reply(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine, tmp_path: Path
) -> None:
    old = make_lora(base, tmp_path / "1", seed=11)
    new = make_lora(base, tmp_path / "2", seed=12, version=2)
    engine = engine_of(base)
    prompt = [*PERSONA, 90, 91, 92]
    for turn in range(2):
        for lora in (old, new, loras[0], None):
            name = f"{turn} {lora and lora.info.label}"
            reply = run(engine, ask(name, prompt, lora.info if lora else None)).tokens[name]
            assert reply == greedy(lora.model if lora else base, prompt, 20)


def test_a_reply_in_flight_ends_on_the_version_it_began_with(
    base: LlamaForCausalLM, engine_of: MakeEngine, tmp_path: Path
) -> None:
    old = make_lora(base, tmp_path / "1", seed=11)
    new = make_lora(base, tmp_path / "2", seed=12, version=2)
    engine, replies = engine_of(base, adapter_columns=16), Replies()
    engine.insert(ask("old", PERSONA, old.info))
    while not replies.tokens.get("old"):
        replies.take(engine.next())
    engine.insert(ask("new", PERSONA, new.info))
    drain(engine, replies)
    assert replies.tokens["old"] == greedy(old.model, PERSONA, 20)
    assert replies.tokens["new"] == greedy(new.model, PERSONA, 20)


def test_adapters_wait_for_columns_in_turn(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine = engine_of(base, adapter_columns=16, adapter_bytes=1)
    requests = [
        ask(str(n), [*PERSONA, n + 20], loras[n % 4].info, max_new_tokens=3 + n) for n in range(4)
    ]
    replies = run(engine, *requests)
    for n, request in enumerate(requests):
        assert replies.tokens[str(n)] == greedy(loras[n].model, request.prompt, 3 + n)


def test_a_long_prompt_never_stops_a_streaming_reply(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    engine.insert(ask("streaming", [5, 6, 7], max_new_tokens=100, logit_bias={2: -100.0}))
    engine.next()
    engine.insert(ask("long", words(random.Random(3), 2) * 150))
    for _ in range(20):  # 150 tokens by 7 a step take more steps than these
        assert [event.id for event in engine.next()] == ["streaming"]


def test_sampled_replies_do_not_depend_on_the_batch(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    wanted = ask("x", [*PERSONA, 30], loras[2].info, 7, temperature=1.0, top_p=0.95)
    alone = run(engine_of(base), wanted).tokens["x"]
    engine, replies = engine_of(base), Replies()
    engine.insert(ask("other", [40, 41], loras[1].info, 8, temperature=1.3, max_new_tokens=9))
    replies.take(engine.next())
    engine.insert(ask("third", PERSONA, None, 7, temperature=1.0))
    engine.insert(wanted)
    assert drain(engine, replies).tokens["x"] == alone
    other_seed = EngineRequest("x", wanted.prompt, wanted.sampling, 8, wanted.adapter)
    assert run(engine_of(base), other_seed).tokens["x"] != alone


def test_removing_a_row_frees_it_and_keeps_its_prefix(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    engine.insert(ask("gone", PERSONA * 2))
    engine.next()
    engine.remove("gone")
    engine.remove("never there")
    assert (engine.active, engine.free_rows) == (0, 4)
    assert engine.next() == []
    assert run(engine, ask("1", PERSONA * 2)).ends["1"].cached_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ((), "The prompt is empty"),
        ((5,) * 200, "The prompt has 200 tokens but the model's context only 200"),
        ((5, 211), "The prompt holds token 211 but the model knows only 211"),
    ],
)
def test_prompts_that_cannot_run_are_refused(
    base: LlamaForCausalLM, engine_of: MakeEngine, prompt: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(RequestRefused, match=sentence):
        engine_of(base).insert(ask("0", prompt))


def test_a_full_engine_and_a_repeated_id_are_refused(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base, rows=2)
    engine.insert(ask("0", [5]))
    with pytest.raises(RequestRefused, match="already"):
        engine.insert(ask("0", [5]))
    engine.insert(ask("1", [5]))
    with pytest.raises(RequestRefused, match="Every row"):
        engine.insert(ask("2", [5]))


def test_an_adapter_too_wide_for_the_columns_is_refused(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    with pytest.raises(AdapterError, match="rank 16, above the 8 columns"):
        engine_of(base, adapter_columns=8).insert(ask("0", [5], loras[2].info))


def test_a_reply_ends_at_the_context(base: LlamaForCausalLM, engine_of: MakeEngine) -> None:
    request = ask("0", [5] * 190, max_new_tokens=50, logit_bias={2: -100.0})
    replies = run(engine_of(base), request)
    assert len(replies.tokens["0"]) == 10
    assert replies.ends["0"].finish == "length"


# -- faults ----------------------------------------------------------------------------------------


def test_a_fault_of_one_row_ends_that_row_alone(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    forward = engine._forward_pass

    def faulty(step: Pass) -> Tensor:
        if 66 in step.tokens.tolist():
            raise RuntimeError("no kernel for 66")
        return forward(step)

    engine._forward_pass = faulty
    prompts = {"0": [5, 6, 7], "1": [66, 6, 7], "2": [8, 9]}
    replies = run(engine, *(ask(id, prompt) for id, prompt in prompts.items()))
    assert replies.ends["1"].finish == "error"
    assert "no kernel for 66" in replies.ends["1"].error
    for id in ("0", "2"):
        assert replies.tokens[id] == greedy(base, prompts[id], 20)


def test_logits_that_are_not_finite_end_only_their_row(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    forward = engine._forward_pass

    @torch.inference_mode()
    def poisoned(step: Pass) -> Tensor:
        logits = forward(step)
        engine._runner.kv.strip(1, 0, 60).fill_(torch.nan)
        if step.outputs is not None and len(step.outputs) == 3:
            logits[1] = torch.nan
        return logits

    engine._forward_pass = poisoned
    replies = Replies()
    for id in "012":
        engine.insert(ask(id, [5, 6, int(id) + 7]))
    replies.take(engine.next())
    assert replies.ends["1"].finish == "error"
    engine._forward_pass = forward
    engine.insert(ask("3", [5, 6, 30]))
    drain(engine, replies)
    for id, last in (("0", 7), ("2", 9), ("3", 30)):
        assert replies.tokens[id] == greedy(base, [5, 6, last], 20)
