"""The part of the model that is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PromptTuningConfig,
    get_peft_model,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file

from config import FinetuneSettings
from inference.adapters import WEIGHTS_FILE
from inference.model_loading import LoadedModel


def trainable(loaded: LoadedModel, settings: FinetuneSettings) -> Any:
    """`loaded.model` with a fresh adapter on top, a `peft.PeftModel`; only the adapter learns.

    Its first weights come from torch's random numbers.
    """
    model: Any = loaded.model
    if _is_quantized(model):
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    wrapped: Any = get_peft_model(model, adapter_config(settings, loaded))
    # AdamW's small steps are lost in 16 bits, whatever the base is kept in.
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return wrapped


@contextmanager
def unrounded(model: Any) -> Iterator[None]:
    """Give the adapter its float32 weights back after the context.

    TRL's trainers round those on a quantised base to bfloat16 when they are built, as QLoRA's
    authors did.
    """
    before = [(one, one.data) for one in model.parameters() if one.requires_grad]
    yield
    for parameter, data in before:
        if parameter.dtype != data.dtype:
            parameter.data = data.to(parameter.device)


def adapter_config(settings: FinetuneSettings, loaded: LoadedModel) -> PeftConfig:
    """PEFT's configuration of what `settings` ask for."""
    if settings.method == "prompt_tuning":
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=settings.num_virtual_tokens,
            # Sampled words begin nearer to what the model understands (Lester et al. 2021).
            prompt_tuning_init="SAMPLE_VOCAB",
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_target_modules),
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
    )


def load_weights(model: Any, folder: Path) -> None:
    """Put the adapter saved in `folder` in the place of the fresh one."""
    set_peft_model_state_dict(model, load_file(folder / WEIGHTS_FILE))


def weights(model: Any) -> list[torch.Tensor]:
    """A copy of what is trained."""
    return [
        parameter.detach().cpu().clone()
        for parameter in model.parameters()
        if parameter.requires_grad
    ]


def trained_parameters(model: Any) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _is_quantized(model: Any) -> bool:
    """Whether bitsandbytes holds the weights, so that training needs PEFT's preparations."""
    return bool(getattr(model, "is_loaded_in_8bit", False)) or bool(
        getattr(model, "is_loaded_in_4bit", False)
    )
