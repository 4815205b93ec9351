"""Training: encoded examples into a LoRA adapter, with TRL's trainer and PEFT."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, prepare_model_for_kbit_training
from torch import nn
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from config import FinetuneSettings
from finetune.dataset import Encoded
from finetune.errors import InputError, TrainingError
from finetune.progress import Progress
from inference.model_loading import LoadedModel

_WARMUP_SHARE = 0.1
# With num_epochs = 0: at least so many times through the set and so many steps, at most so often.
_EPOCHS, _STEPS, _MOST_EPOCHS = 3, 24, 10


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its trained adapter on top, and the figures of the training."""

    model: Any  # peft.PeftModel
    figures: dict[str, float | int]


def check_settings(settings: FinetuneSettings, loaded: LoadedModel) -> None:
    """Raise `InputError` for settings that do not fit together, or not the model."""
    if settings.cutoff_len > loaded.info.context_length:
        raise InputError(
            f"cutoff_len = {settings.cutoff_len} is more than the {loaded.info.context_length}"
            " tokens that the model can read; lower it."
        )
    layers = _linear_layers(loaded.model)
    known = sorted({name.rpartition(".")[2] for name in layers})
    for target in settings.lora_target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            raise InputError(
                f"The model has no linear layer {target!r} for lora_target_modules; it has"
                f" {', '.join(known)}."
            )


def epochs_for(settings: FinetuneSettings, examples: int) -> float:
    """How often to go through a set of so many examples."""
    if settings.num_epochs:
        return settings.num_epochs
    steps_per_epoch = math.ceil(examples / settings.batch_size)
    return min(max(_EPOCHS, math.ceil(_STEPS / steps_per_epoch)), _MOST_EPOCHS)


def train(
    loaded: LoadedModel,
    encoded: Sequence[Encoded],
    settings: FinetuneSettings,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
) -> Trained:
    """Train a fresh LoRA adapter on `encoded`; `scratch` is a folder that the trainer may fill.

    Raises `TrainingError` in one sentence when memory runs out or the loss is no number any more.
    """
    epochs = epochs_for(settings, len(encoded))
    losses = _Losses(progress)
    model: Any = loaded.model
    if _is_quantized(model):
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    started = time.monotonic()
    with _explained(settings):
        trainer = SFTTrainer(
            model=model,
            args=_arguments(loaded, settings, epochs, seed, scratch),
            train_dataset=Dataset.from_list(
                [{"input_ids": list(e.input_ids), "labels": list(e.labels)} for e in encoded]
            ),
            processing_class=loaded.tokenizer,
            peft_config=LoraConfig(
                task_type="CAUSAL_LM",
                r=settings.lora_r,
                lora_alpha=settings.lora_alpha,
                lora_dropout=settings.lora_dropout,
                target_modules=list(settings.lora_target_modules),
            ),
            callbacks=[losses],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    seconds = time.monotonic() - started
    adapter: Any = trainer.model
    adapter.peft_config["default"].base_model_name_or_path = loaded.info.name
    return Trained(adapter, _figures(adapter, encoded, losses.all, epochs, seconds))


def _is_quantized(model: Any) -> bool:
    """Whether bitsandbytes holds the weights, so that training needs PEFT's preparations."""
    return bool(getattr(model, "is_loaded_in_8bit", False)) or bool(
        getattr(model, "is_loaded_in_4bit", False)
    )


def use_one_gpu(device: str) -> str:
    """Hide all other GPUs from this process; returns the name of `device` from then on.

    With several in sight the trainer would spread over them, which TRL refuses. Call it before
    torch looks for GPUs.
    """
    if device != "auto" and not device.startswith("cuda"):
        return device
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if visible is None else visible.split(",")
    if names is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(index)
    elif index < len(names):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[index]
    return device.partition(":")[0]


def _linear_layers(model: Any) -> list[str]:
    """Names of the layers that can take an adapter.

    TRL computes the loss from the output head's own weight, past any adapter on it.
    """
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]


def _arguments(
    loaded: LoadedModel, settings: FinetuneSettings, epochs: float, seed: int, scratch: Path
) -> SFTConfig:
    dtype, device = loaded.model.dtype, loaded.model.device.type
    return SFTConfig(
        output_dir=str(scratch),
        seed=seed,
        num_train_epochs=epochs,
        per_device_train_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=_WARMUP_SHARE,
        weight_decay=0.0,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=device == "cpu",
        bf16=device == "cuda" and dtype == torch.bfloat16,
        fp16=device == "cuda" and dtype == torch.float16,
        dataloader_pin_memory=device == "cuda",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class _Losses(TrainerCallback):
    """Hears the loss of every step, shows it, and stops a training that has gone astray."""

    def __init__(self, progress: Progress) -> None:
        self.all: list[float] = []
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.begin(int(state.max_steps))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {state.global_step}; lower learning_rate, or"
                " set model.dtype to float32."
            )
        self.all.append(loss)
        self._progress.step(loss)


@contextmanager
def _explained(settings: FinetuneSettings) -> Iterator[None]:
    """Turn running out of memory into one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not (
            "out of memory" in text or "allocate memory" in text
        ):
            raise
        raise TrainingError(
            f"The training ran out of memory; lower micro_batch_size ({settings.micro_batch_size})"
            f" or cutoff_len ({settings.cutoff_len}), or set gradient_checkpointing."
        ) from error


def _figures(
    adapter: Any,
    encoded: Sequence[Encoded],
    losses: Sequence[float],
    epochs: float,
    seconds: float,
) -> dict[str, float | int]:
    last_pass = losses[-max(1, round(len(losses) / epochs)) :]
    return {
        "examples": len(encoded),
        "replies": sum(one.replies for one in encoded),
        "tokens": sum(len(one.input_ids) for one in encoded),
        "taught_tokens": sum(one.taught_tokens for one in encoded),
        "epochs": epochs,
        "steps": len(losses),
        "first_loss": round(losses[0], 4),
        "final_loss": round(sum(last_pass) / len(last_pass), 4),
        "seconds": round(seconds, 1),
        "trained_parameters": sum(p.numel() for p in adapter.parameters() if p.requires_grad),
    }
