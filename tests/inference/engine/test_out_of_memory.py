"""Where memory ends: prefixes go first, then the batch is narrower for a while, then a reply."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count, pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaForCausalLM

from inference.engine.batch_engine import BatchEngine
from inference.engine.headroom import SMALLEST_CHUNK, Headroom
from inference.engine.runner import Pass
from tests.inference.engine.conftest import (
    Lora,
    MakeEngine,
    Replies,
    ask,
    drain,
    greedy,
    make_engine,
    run,
)

PROMPTS = [[5, 6, 7], [5, 6, 7, 8] * 6, [5, 6, 7, 8] * 6 + [9], list(range(30, 75))]
LONGEST = 12
SENTENCE = "The model ran out of memory; try again when it is less busy."
STAGES = {
    "step": "_forward_pass",
    "sampling": "_sampler.choose",
    "row": "_sampler.begin",
    "columns": "_adapters.acquire",
    "cache": "_prefixes.store",
    "reuse": "_prefixes.restore",
}


def no_memory(*_: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


def intercept(engine: BatchEngine, stage: str, fails: Callable[[Any], bool]) -> None:
    """Let a stage of the engine run out of memory whenever `fails` says so of its argument."""
    *path, name = STAGES[stage].split(".")
    owner: Any = engine
    for part in path:
        owner = getattr(owner, part)
    real = getattr(owner, name)

    def cramped(*arguments: Any) -> Any:
        return no_memory() if fails(arguments[0]) else real(*arguments)

    setattr(owner, name, cramped)


def at_calls(numbers: set[int]) -> Callable[[Any], bool]:
    """True at these calls, counted from 1."""
    calls = count(1)
    return lambda _: next(calls) in numbers


def noting(fails: Callable[[Any], bool], noted: list[bool]) -> Callable[[Any], bool]:
    def ask_and_note(argument: Any) -> bool:
        noted.append(fails(argument))
        return noted[-1]

    return ask_and_note


def cramp(engine: BatchEngine, fits: Callable[[Pass], bool]) -> None:
    intercept(engine, "step", lambda step: not fits(step))


def busy_rows(step: Pass) -> int:
    """Rows that are computed, wanted or not."""
    return step.decode_rows + len(step.segments)


def check_clean(engine: BatchEngine) -> None:
    """Nothing is held once all replies have ended."""
    assert engine.active == 0
    assert not any(engine._batch.rows)
    assert engine._adapters.used_columns() == 0
    assert all(seat.users == 0 for seat in engine._adapters._seats.values())
    assert not engine._sampler._settings


@pytest.fixture(scope="module")
def oracle(base: LlamaForCausalLM, loras: list[Lora]) -> Any:
    @cache
    def reply(adapter: int, prompt: int) -> list[int]:
        model = loras[adapter - 1].model if adapter else base
        return greedy(model, PROMPTS[prompt], LONGEST)

    return reply


def test_prefixes_are_given_up_first_and_nothing_else(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base)
    run(engine, ask("before", PROMPTS[1]))
    assert engine.stats().prefix_bytes > 0
    cramp(engine, lambda step: engine.stats().prefix_bytes == 0)
    replies = run(engine, *(ask(str(n), PROMPTS[n]) for n in range(4)))
    assert {end.finish for end in replies.ends.values()} <= {"stop", "length"}
    assert engine._headroom.rows == 4
    for n in range(4):
        assert replies.tokens[str(n)] == greedy(base, PROMPTS[n], 20)


def test_a_chunk_shrinks_for_a_while_and_grows_again(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base, idle_prefill_chunk=64, prefix_bytes=0)
    forward, longest = engine._forward_pass, [0]

    def measuring(step: Pass) -> Tensor:
        longest[0] = max(longest[0], len(step.tokens))
        return forward(step)

    engine._forward_pass = measuring
    cramp(engine, lambda step: len(step.tokens) <= 20)
    prompt = [5, 6, 7, 8] * 15
    assert run(engine, ask("cramped", prompt)).tokens["cramped"] == greedy(base, prompt, 20)
    assert longest[0] == SMALLEST_CHUNK
    engine._forward_pass = measuring
    run(engine, ask("meanwhile", [9], max_new_tokens=64, logit_bias={2: -100.0}))
    run(engine, ask("roomy", prompt))
    assert longest[0] == 60


def test_replies_wait_their_turn_where_only_one_fits(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine = engine_of(base, prefix_bytes=0)
    spoken: list[str] = []
    replies = Replies()
    for n in range(4):
        engine.insert(ask(str(n), PROMPTS[n], loras[n].info))
    while len(replies.tokens) < 4:  # all have begun to speak
        replies.take(engine.next())
    cramp(engine, lambda step: busy_rows(step) <= 1)
    while engine.active:
        events = engine.next()
        spoken += [event.id for event in events if event.finish]
        replies.take(events)
    assert spoken[:1] == ["0"]
    for n in range(4):
        assert replies.tokens[str(n)] == greedy(loras[n].model, PROMPTS[n], 20)
    check_clean(engine)


def test_rows_come_back_when_there_is_memory_again(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base, prefix_bytes=0)
    forward = engine._forward_pass
    cramp(engine, lambda step: busy_rows(step) <= 1)
    requests = [
        ask(str(n), [5, 6, n + 20], max_new_tokens=100, logit_bias={2: -100.0}) for n in range(4)
    ]
    replies = Replies()
    for request in requests:
        engine.insert(request)
    for _ in range(8):
        replies.take(engine.next())
    assert len(engine._batch.placed) == 1
    engine._forward_pass = forward
    widest = 0
    while engine.active:
        replies.take(engine.next())
        widest = max(widest, len(engine._batch.placed))
    assert widest >= 3
    assert {len(tokens) for tokens in replies.tokens.values()} == {100}


def test_only_what_does_not_fit_by_itself_fails(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    engine = engine_of(base, prefix_bytes=0, prefill_chunk=16)
    cramp(engine, lambda step: max(step.positions.tolist()) < 40)
    replies = run(
        engine, ask("short", PROMPTS[0]), ask("long", PROMPTS[3]), ask("newer", PROMPTS[1])
    )
    assert replies.ends["long"].error == SENTENCE
    assert replies.tokens["short"] == greedy(base, PROMPTS[0], 20)
    assert replies.ends["short"].finish != "error"
    assert replies.tokens["newer"] == greedy(base, PROMPTS[1], 15)[: len(replies.tokens["newer"])]
    check_clean(engine)


def test_sampled_replies_go_on_with_their_own_numbers_and_penalties(
    base: LlamaForCausalLM, engine_of: MakeEngine
) -> None:
    requests = [
        ask(
            str(n),
            [5, 6, n + 20],
            seed=n,
            temperature=1.0,
            frequency_penalty=0.5,
            dry_multiplier=0.8,
            max_new_tokens=30,
        )
        for n in range(4)
    ]
    undisturbed = run(engine_of(base), *requests)
    engine, replies = engine_of(base), Replies()
    for request in requests:
        engine.insert(request)
    for _ in range(5):
        replies.take(engine.next())
    cramp(engine, lambda step: busy_rows(step) <= 1)
    assert drain(engine, replies).tokens == undisturbed.tokens


def test_a_reply_that_waits_can_be_cancelled(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine
) -> None:
    engine, replies = engine_of(base, prefix_bytes=0), Replies()
    cramp(engine, lambda step: busy_rows(step) <= 1)
    for n in range(3):
        engine.insert(ask(str(n), PROMPTS[n], loras[n].info))
    # the adapters are read first, each when its thread comes to it
    while engine._headroom.rows > 1 or len(engine._batch.waiting) < 2:
        replies.take(engine.next())
    assert [row.request.id for row in engine._batch.waiting] == ["1", "2"]
    engine.remove("1")
    drain(engine, replies)
    assert set(replies.ends) == {"0", "2"}
    assert replies.tokens["2"] == greedy(loras[2].model, PROMPTS[2], 20)
    check_clean(engine)


@pytest.mark.parametrize("stage", STAGES)
def test_one_failure_anywhere_costs_no_reply_where_something_can_be_given_up(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine, oracle: Any, stage: str
) -> None:
    for occasion in (1, 2, 4):
        engine = engine_of(base)
        run(engine, ask("before", PROMPTS[1]))
        reached: list[bool] = []
        intercept(engine, stage, noting(at_calls({occasion}), reached))
        replies = run(
            engine,
            *(ask(str(n), PROMPTS[n], loras[n].info, max_new_tokens=LONGEST) for n in range(4)),
        )
        assert reached.count(True) == 1, "the stage was not reached often enough"
        for n in range(4):
            assert replies.ends[str(n)].finish != "error"
            assert replies.tokens[str(n)] == oracle(n + 1, n)
        check_clean(engine)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), max_size=9),
    st.lists(st.tuples(st.sampled_from(sorted(STAGES)), st.integers(1, 60)), max_size=12),
    st.sampled_from([0, 1 << 30]),
)
def test_whenever_memory_ends_every_reply_ends_once_and_says_only_its_own(
    base: LlamaForCausalLM,
    loras: list[Lora],
    oracle: Any,
    joins: list[tuple[int, int, int]],
    failures: list[tuple[str, int]],
    prefix_bytes: int,
) -> None:
    """`joins`: adapter, prompt, steps before the next; `failures`: stage, and at which call."""
    engine = make_engine(base, adapter_columns=24, prefix_bytes=prefix_bytes)
    for stage in STAGES:
        intercept(engine, stage, at_calls({n for name, n in failures if name == stage}))
    replies = Replies()
    for id, (adapter, prompt, steps) in enumerate(joins):
        while not engine.free_rows:
            replies.take(engine.next())
        info = loras[adapter - 1].info if adapter else None
        engine.insert(ask(str(id), PROMPTS[prompt], info, max_new_tokens=LONGEST))
        for _ in range(steps):
            replies.take(engine.next())
    drain(engine, replies)
    engine.close()

    assert set(replies.ends) == {str(id) for id in range(len(joins))}
    for id, (adapter, prompt, _) in enumerate(joins):
        whole, said = oracle(adapter, prompt), replies.tokens.get(str(id), [])
        end = replies.ends[str(id)]
        if end.finish == "error":
            assert end.error == SENTENCE
            assert said == whole[: len(said)]
        else:
            assert said == whole
    failed = sum(end.finish == "error" for end in replies.ends.values())
    assert failed <= len(failures)
    check_clean(engine)


def test_a_rise_that_fails_at_once_is_tried_less_and_less_often() -> None:
    headroom, tries = Headroom(8, 512), []
    for passes in range(2000):
        if headroom.rows > 2:  # memory for two rows
            tries.append(passes)
            headroom.lower_rows(2)
        headroom.passed()
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert len(tries) < 12
    for _ in range(20_000):
        headroom.passed()
    assert (headroom.rows, headroom.chunk) == (8, 512)
