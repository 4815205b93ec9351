"""A soft prompt (PEFT prompt tuning, Lester et al. 2021) in place of a LoRA.

It is a number of trained embeddings that stand before the prompt as tokens without a text. In a
batch they cost their positions in the cache and nothing else, so they mix with anything.
"""

from __future__ import annotations

import torch
from safetensors import safe_open

from inference.adapters import AdapterError, AdapterInfo
from inference.engine.adapter_weights import (
    AdapterPlan,
    AdapterWeights,
    check_hash,
    read_shapes,
)

_TENSOR = "prompt_embeddings"


def plan_soft_prompt(info: AdapterInfo, hidden: int) -> AdapterPlan:
    """Check the file's names and shapes against a model of width `hidden`; reads no weights.

    Raises `AdapterError` with the reason if it cannot stand before this model's prompts.
    """
    shapes = read_shapes(info)
    if set(shapes) != {_TENSOR}:
        others = ", ".join(sorted(set(shapes) - {_TENSOR})[:3])
        problem = f"holds {others} beside" if _TENSOR in shapes else "holds no"
        raise AdapterError(
            f"Adapter {info.label} is a soft prompt but {problem} {_TENSOR}; save it with PEFT"
            " again."
        )
    shape = shapes[_TENSOR]
    if len(shape) != 2 or shape[0] < 1 or shape[1] != hidden:
        raise AdapterError(
            f"Adapter {info.label} was made for a model of another size: its soft prompt has shape"
            f" {shape} where [tokens, {hidden}] fits."
        )
    return AdapterPlan(f"{info.card.weights_hash}:soft", info, {}, {}, virtual_tokens=shape[0])


def read_soft_prompt(plan: AdapterPlan, device: torch.device) -> AdapterWeights:
    """The embeddings [tokens, hidden] in float32 on the model's device.

    Raises `AdapterError` if the file is not the one that was published, or is not finite.
    """
    check_hash(plan.info)
    with safe_open(plan.info.weights, framework="pt") as file:
        embeddings = file.get_tensor(_TENSOR).float()
    if not torch.isfinite(embeddings).all():
        raise AdapterError(
            f"Adapter {plan.info.label} holds values that are not finite numbers; its training"
            " diverged: train it again with a lower learning rate."
        )
    return AdapterWeights(plan.key, plan.info.label, 0, {}, embeddings.to(device))
