"""What can be known of graph replay without a GPU: rounded shapes, static inputs, right rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from inference.engine.cuda_graphs import DecodeGraphs
from tests.inference.engine.conftest import Lora, MakeEngine, Replies, ask, drain, greedy


def test_replayed_steps_say_the_same(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: MakeEngine, as_on_a_gpu: None
) -> None:
    captured: list[Tensor] = []

    def capture(function: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As a CUDA graph does: the same memory in, the same memory out, at every replay."""
        logits = function().clone()
        captured.append(logits)

        def replay() -> None:
            with torch.inference_mode():
                logits.copy_(function())

        return replay, logits

    engine, replies = engine_of(base, rows=6), Replies()
    engine._runner.rounded = True
    engine._forward_pass = DecodeGraphs(engine._runner.forward, capture)
    adapters = [None, *loras, None]
    for turn in range(2):
        for n, lora in enumerate(adapters):
            prompt = [5, 6, 7, 8, n + 20]
            engine.insert(
                ask(f"{turn}{n}", prompt, lora.info if lora else None, max_new_tokens=8 + n)
            )
            replies.take(engine.next())
        drain(engine, replies)
    for n, lora in enumerate(adapters):
        expected = greedy(lora.model if lora else base, [5, 6, 7, 8, n + 20], 8 + n)
        assert replies.tokens[f"0{n}"] == replies.tokens[f"1{n}"] == expected
    # six rows come and go, but only 1, 2, 4 or 6 of them are ever computed together
    assert {len(logits) for logits in captured} <= {1, 2, 4, 6}
