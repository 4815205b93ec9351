"""The settings as transformers' training arguments have them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from config import FinetuneSettings
from finetune.training.sharding import is_sharded
from finetune.training.tracking import PROJECT
from finetune.training.world import world_size
from inference.model_loading import LoadedModel

_WARMUP_SHARE = 0.1
_CHECKPOINTS = 2  # that are kept: the newest may be half-written when the machine fails
# With num_epochs = 0: so many steps are enough, unless that takes more than so many epochs; but a
# tiny set is gone through until there were at least so many steps, at most so often.
_ENOUGH_STEPS, _EPOCHS = 60, 3
_FEWEST_STEPS, _MOST_EPOCHS = 30, 15


def epochs_for(settings: FinetuneSettings, examples: int) -> float:
    """How often to go through a set of so many examples."""
    if settings.num_epochs:
        return settings.num_epochs
    steps_per_epoch = math.ceil(examples / settings.batch_size)
    enough = min(math.ceil(_ENOUGH_STEPS / steps_per_epoch), _EPOCHS)
    return min(max(math.ceil(_FEWEST_STEPS / steps_per_epoch), enough), _MOST_EPOCHS)


def common(
    loaded: LoadedModel, settings: FinetuneSettings, examples: int, seed: int, folder: Path
) -> dict[str, Any]:
    """What all trainers are given; checkpoints go to `folder`."""
    # What a quantised base computes in; its other weights are made float32 for training.
    dtype = loaded.model.config.dtype or loaded.model.dtype
    device = loaded.model.device.type
    if is_sharded() and torch.cuda.is_available():
        device = "cuda"  # the model waits in the CPU's memory until it is in slices
    parts = settings.micro_batch_size * world_size()
    return {
        "output_dir": str(folder),
        "seed": seed,
        "num_train_epochs": epochs_for(settings, examples),
        "per_device_train_batch_size": settings.micro_batch_size,
        "per_device_eval_batch_size": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.batch_size // parts,
        "lr_scheduler_type": "cosine",
        "warmup_steps": _WARMUP_SHARE,
        "weight_decay": 0.0,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "use_cpu": device == "cpu",
        "bf16": device == "cuda" and dtype == torch.bfloat16,
        "fp16": device == "cuda" and dtype == torch.float16,
        "dataloader_pin_memory": device == "cuda",
        "ddp_find_unused_parameters": False,  # an adapter's are all used
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        # transformers 5.23 cannot write an adapter whose matrices are in slices
        "save_strategy": "steps" if settings.save_steps and not is_sharded() else "no",
        "save_steps": settings.save_steps or 1,
        "save_total_limit": _CHECKPOINTS,
        "report_to": settings.report_to,
        "project": PROJECT,
        "disable_tqdm": True,
    }
