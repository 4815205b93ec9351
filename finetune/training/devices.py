"""Where to train, and in which number format."""

from __future__ import annotations

import os

from config import ModelSettings


def use_one_gpu(device: str) -> str:
    """Hide all other GPUs from this process; returns the name of `device` from then on.

    With several in sight the trainer would spread over them, which TRL refuses. Under torchrun and
    accelerate each process has its own already. Call it before torch looks for GPUs.
    """
    if "LOCAL_RANK" in os.environ or (device != "auto" and not device.startswith("cuda")):
        return device
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if visible is None else visible.split(",")
    if names is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(index)
    elif index < len(names):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[index]
    return device.partition(":")[0]


def training_model(settings: ModelSettings) -> ModelSettings:
    """The model's settings as training loads it, `auto` made definite where it matters.

    The base is frozen, so 16 bits do for it where the processor multiplies them: on a CPU with
    bfloat16 instructions training is twice as fast. The adapter stays in float32.
    """
    import torch

    from finetune.training.sharding import is_sharded

    changes: dict[str, str] = {}
    rank = os.environ.get("LOCAL_RANK")
    if rank is not None and settings.device in ("auto", "cuda") and torch.cuda.is_available():
        changes["device"] = f"cuda:{rank}"
        if is_sharded():  # whole, the model may be too large for one GPU
            changes["device"] = "cpu"
            if settings.dtype == "auto":
                changes["dtype"] = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    on_cpu = settings.device == "cpu" or (
        settings.device == "auto"
        and not torch.cuda.is_available()
        and not torch.backends.mps.is_available()
    )
    if on_cpu and settings.dtype == "auto" and multiplies_bfloat16():
        changes["dtype"] = "bfloat16"
    return settings.model_copy(update=changes)


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 products (AVX-512 BF16, AMX)."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
