"""Whatever joins, leaves or is swapped, every reply is its own, whole, and ends once."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from tests.inference.engine.conftest import Lora, Replies, ask, drain, greedy, make_engine

PROMPTS = [[5, 6, 7], [5, 6, 7, 8] * 5, [5, 6, 7, 8] * 5 + [9], list(range(30, 75)), [99]]
LONGEST = 12

joins = st.tuples(
    st.just("join"), st.integers(0, 4), st.integers(0, len(PROMPTS) - 1), st.integers(1, LONGEST)
)
actions = st.one_of(
    joins,
    joins,
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("leave"), st.integers(0, 50)),
)


@pytest.fixture(scope="module")
def oracle(base: LlamaForCausalLM, loras: list[Lora]) -> Any:
    @cache
    def reply(adapter: int, prompt: int) -> list[int]:
        model = loras[adapter - 1].model if adapter else base
        return greedy(model, PROMPTS[prompt], LONGEST)

    return reply


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(actions, max_size=40), st.sampled_from([24, 64]), st.sampled_from([0, 60_000, 1 << 30])
)
def test_no_row_is_mixed_up_leaked_or_lost(
    base: LlamaForCausalLM,
    loras: list[Lora],
    oracle: Any,
    script: list[Any],
    columns: int,
    prefix_bytes: int,
) -> None:
    engine = make_engine(
        base, adapter_columns=columns, prefix_bytes=prefix_bytes, adapter_bytes=100_000
    )
    replies = Replies()
    asked: dict[str, tuple[int, int, int]] = {}
    left: set[str] = set()
    for action in script:
        match action:
            case ("join", adapter, prompt, count):
                if not engine.free_rows:
                    continue
                id = str(len(asked))
                asked[id] = (adapter, prompt, count)
                info = loras[adapter - 1].info if adapter else None
                engine.insert(ask(id, PROMPTS[prompt], info, max_new_tokens=count))
            case ("step", count):
                for _ in range(count):
                    replies.take(engine.next())
            case ("leave", which):
                running = [id for id in asked if id not in replies.ends and id not in left]
                if running:
                    left.add(running[which % len(running)])
                    engine.remove(running[which % len(running)])
    drain(engine, replies)
    engine.close()

    assert set(replies.ends) == set(asked) - left
    for id, (adapter, prompt, count) in asked.items():
        whole = oracle(adapter, prompt)
        said = replies.tokens.get(id, [])
        if id in left:
            assert said == whole[: len(said)]
        else:
            assert said == whole[:count]
            assert replies.ends[id].finish == ("stop" if len(whole) < count else "length")
    assert engine.free_rows == engine.capacity
    assert engine._adapters.used_columns() == 0
    assert all(seat.users == 0 for seat in engine._adapters._seats.values())
    assert engine.stats().prefix_bytes <= prefix_bytes
