"""The output head at the labelled tokens only.

A vocabulary of 49,152 makes the head a quarter of a small model's work, and most tokens (card,
history) are not learnt. TRL's fused head leaves them out where Triton runs; elsewhere it scores
every token, so there this one takes its place behind the same call.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from trl.trainer.utils import FusedCausalLMOutput

from finetune.dataset import IGNORE_INDEX

# Models that change their logits behind the head keep TRL's, which knows each of them.
_CHANGED_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "output_multiplier",
    "lm_head_multiplier",
)


def score_labels_only(model: Any, *, measured: bool) -> None:
    """Let `model(…, labels=…, fused_lm_head=True)` of TRL's trainers score only what is labelled.

    `model` is the causal language model itself, without PEFT's wrapper, whose forward a trainer of
    TRL has extended. `measured` adds what its preference trainers report: entropy, mean of the
    logits, and whether the label was the likeliest token.
    """
    config = model.config.get_text_config()
    on_triton = model.device.type == "cuda"
    if on_triton or any(getattr(config, name, None) is not None for name in _CHANGED_LOGITS):
        return
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head or labels is None:
            return original(*args, fused_lm_head=fused_lm_head, labels=labels, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        return _scores(hidden, self.get_output_embeddings(), labels[:, 1:], measured)

    model.forward = types.MethodType(forward, model)


def _scores(hidden: Tensor, head: Any, labels: Tensor, measured: bool) -> FusedCausalLMOutput:
    """Log-probabilities of `labels` [rows, tokens] after `hidden` [rows, tokens, width]."""
    mask = labels != IGNORE_INDEX
    logits = functional.linear(hidden[mask], head.weight, head.bias).float()
    wanted = labels[mask]
    found = -functional.cross_entropy(logits, wanted, reduction="none")

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    output = FusedCausalLMOutput(log_probs=spread(found), label_mask=mask)
    if measured:
        with torch.no_grad():
            spreads = logits.log_softmax(-1)
            output.entropy = spread(-(spreads.exp() * spreads).sum(-1))
            output.mean_logits = spread(logits.mean(-1))
            output.is_top1 = spread(logits.argmax(-1) == wanted)
    return output
