"""Weights in slices over several processes: FSDP and DeepSpeed ZeRO-3, set up by accelerate."""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from finetune.errors import InputError

_SWITCHES = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


def is_sharded() -> bool:
    """Whether `accelerate launch` was told to slice the model."""
    return any(os.environ.get(switch, "").lower() == "true" for switch in _SWITCHES)


def check_phases(count: int) -> None:
    """Raise `InputError` if so many trainers after one another cannot share a sliced model."""
    if is_sharded() and count > 1:
        raise InputError(
            "A model in slices (FSDP, ZeRO-3) is trained in one phase only; set method to one that"
            " has one, or launch with ddp.yaml."
        )


def gather(model: Any) -> None:
    """Make every trained parameter of `model` whole again, in every process; all must call it.

    The frozen base stays in slices, and the model cannot be trained on.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                module._parameters[name] = nn.Parameter(_whole(parameter))


def _whole(parameter: nn.Parameter) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return parameter.full_tensor().detach()
    if hasattr(parameter, "ds_id"):  # ZeRO-3
        deepspeed: Any = importlib.import_module("deepspeed")
        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()
    return parameter.detach()
