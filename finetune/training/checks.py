"""Whether the settings fit together, and the model."""

from __future__ import annotations

from typing import Any

from torch import nn

from config import FinetuneSettings
from finetune.errors import InputError
from finetune.training.world import check_batch
from inference.model_loading import LoadedModel


def check_settings(settings: FinetuneSettings, loaded: LoadedModel) -> None:
    """Raise `InputError` for settings that do not fit together, or not the model."""
    check_batch(settings)
    if settings.cutoff_len > loaded.info.context_length:
        raise InputError(
            f"cutoff_len = {settings.cutoff_len} is more than the {loaded.info.context_length}"
            " tokens that the model can read; lower it."
        )
    layers = linear_layers(loaded.model)
    known = sorted({name.rpartition(".")[2] for name in layers})
    for target in settings.lora_target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            raise InputError(
                f"The model has no linear layer {target!r} for lora_target_modules; it has"
                f" {', '.join(known)}."
            )


def linear_layers(model: Any) -> list[str]:
    """Names of the layers that can take an adapter.

    TRL computes the loss from the output head's own weight, past any adapter on it.
    """
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
