"""An adapter merged into the base: what cannot share a batch serves alone, as the whole base.

DoRA, `modules_to_save` and adapters on the embeddings change the model in ways that a row of a
batch cannot have to itself; merged, they are part of the weights and cost nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from inference.adapters import AdapterError, AdapterInfo, AdapterRegistry, is_soft_prompt


def find_adapter(name: str, adapters: AdapterRegistry, base_fingerprint: str) -> AdapterInfo:
    """The adapter that `model.merge_adapter` names, which must be made for the base.

    Raises `AdapterError` in one sentence if it cannot be used.
    """
    info = adapters.resolve(name, base_fingerprint)
    if info is None:
        raise AdapterError(
            f"model.merge_adapter = {name!r} stands for the model without adapter; name one, or"
            ' leave it "".'
        )
    if is_soft_prompt(info):
        raise AdapterError(
            f"Adapter {info.label} is a soft prompt, which has no weights to merge; leave"
            ' model.merge_adapter "" and choose the adapter for a channel instead.'
        )
    return info


def merge(
    model: PreTrainedModel, adapter: AdapterInfo, *, inspect: Callable[[Any], None] | None = None
) -> PreTrainedModel:
    """The model with the adapter's change added to its weights.

    `inspect` is shown PEFT's model just before, while the adapter still stands beside the weights.
    Raises `AdapterError` if PEFT cannot do so, or if the weights did not change.
    """
    before = {name: weight.detach().sum().item() for name, weight in model.named_parameters()}
    try:
        wrapped: Any = PeftModel.from_pretrained(model, str(adapter.folder))
        if inspect is not None:
            inspect(wrapped)
        merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AdapterError(f"Adapter {adapter.label} cannot be merged: {first_line}") from error
    after = {name: weight.detach().sum().item() for name, weight in merged.named_parameters()}
    if before == after:
        raise AdapterError(
            f"Merging adapter {adapter.label} changed nothing; it is empty or names no layer of"
            " this model."
        )
    merged.eval()
    return merged


def merged_fingerprint(base: str, adapter: AdapterInfo) -> str:
    """Another model than the base, to which other adapters belong."""
    return hashlib.sha256(f"{base} {adapter.card.weights_hash}".encode()).hexdigest()[:32]
