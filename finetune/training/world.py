"""Processes that train together, as torchrun and accelerate number them."""

from __future__ import annotations

import os

from config import FinetuneSettings
from finetune.errors import InputError


def world_size() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that prints and publishes."""
    return int(os.environ.get("RANK", "0")) == 0


def check_batch(settings: FinetuneSettings) -> None:
    """Raise `InputError` unless a step's examples can be shared out evenly.

    `batch_size` is that of all processes together, whatever their number.
    """
    world = world_size()
    if settings.batch_size % (settings.micro_batch_size * world):
        raise InputError(
            f"batch_size = {settings.batch_size} cannot be divided into parts of micro_batch_size ="
            f" {settings.micro_batch_size}"
            + (f" for each of {world} processes" if world > 1 else "")
            + "; make it a multiple."
        )
