"""How far each weight format's next-token distribution is from that of float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inference.engine.interface import EngineRequest
from inference.engine.linears import WeightFormat
from inference.engine.runner import Runner
from inference.engine.schedule import Row, Work, build_pass
from inference.types import Sampling

POSITIONS = 2000
_CONTEXT = 512
_TOKENS_A_PASS = 4


@dataclass(frozen=True, slots=True)
class Quality:
    """Over all positions: nats, and the share where the likeliest token is the same."""

    mean_kl: float
    worst_percent_kl: float  # the 99th percentile
    same_top: float


@torch.inference_mode()
def compare_formats(
    model: Any, texts: Sequence[Sequence[int]], formats: Sequence[WeightFormat], positions: int
) -> dict[WeightFormat, Quality]:
    """KL(float32 ‖ format) at the first `positions` positions of `texts`."""

    def runner(form: WeightFormat) -> Runner:
        return Runner(model, rows=1, context=_CONTEXT, form=form, columns=16)

    exact = runner("float32")
    others = {form: runner(form) for form in formats}
    divergence: dict[WeightFormat, list[Tensor]] = {form: [] for form in formats}
    agreement: dict[WeightFormat, list[Tensor]] = {form: [] for form in formats}
    left = positions
    for text in texts:
        tokens = list(text[: min(_CONTEXT - 1, left)])
        left -= len(tokens)
        if not tokens:
            break
        truth = _log_probabilities(exact, tokens)
        for form, other in others.items():
            guess = _log_probabilities(other, tokens)
            divergence[form].append((truth.exp() * (truth - guess)).sum(-1))
            agreement[form].append((truth.argmax(-1) == guess.argmax(-1)).float())
    return {
        form: Quality(
            float(torch.cat(divergence[form]).mean()),
            float(torch.cat(divergence[form]).quantile(0.99)),
            float(torch.cat(agreement[form]).mean()),
        )
        for form in formats
    }


def _log_probabilities(runner: Runner, tokens: list[int]) -> Tensor:
    """[tokens, vocabulary] of one text, read as few tokens at a time as decoding does.

    Formats may take another path for many tokens (int8 does, through bfloat16), so reading a text
    at once would measure that path and not the one that writes replies.
    """
    row = Row(EngineRequest("text", tuple(tokens), Sampling(), 0), None, tokens, seated=True)
    found: list[Tensor] = []
    while row.written < len(tokens):
        count = min(_TOKENS_A_PASS, len(tokens) - row.written)
        step = build_pass(runner, [row], Work((), ((0, count),)), 0)
        found.append(runner.forward(replace(step, outputs=None)).log_softmax(-1))
        row.written += count
    return torch.cat(found)
