"""What a training was measured by."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

import torch

from config import FinetuneSettings
from finetune.training.arguments import epochs_for
from finetune.training.material import Material
from finetune.training.watching import History

_UNITS = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def watch_memory(device: torch.device) -> Callable[[], int]:
    """Begin to watch; the result tells the most memory since, in MB.

    On a GPU what torch took of it, else what the process had at any time of its life.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: int(torch.cuda.max_memory_allocated(device) // 2**20)
    return lambda: int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNITS // 2**20)


def figures_of(
    made: Material,
    history: History,
    settings: FinetuneSettings,
    phase: str,
    seconds: float,
    tokens: float,
) -> dict[str, Any]:
    """Sizes of the set, losses of the last phase, and speed over `tokens` read in `seconds`."""
    losses = history.losses(phase)
    examples = len(made.votes or made.pairs or made.replies)
    epochs = epochs_for(settings, examples)
    last_pass = losses[-max(1, round(len(losses) / epochs)) :]
    validation = [row["validation_loss"] for row in history.rows if "validation_loss" in row]
    figures: dict[str, Any] = {
        "examples": len(made.replies) + len(made.votes),
        "pairs": len(made.pairs),
        "replies": sum(one.replies for one in made.replies) + len(made.votes),
        "tokens": sum(len(one.input_ids) for one in made.replies),
        "taught_tokens": sum(one.taught_tokens for one in made.replies if not one.unwanted),
        "unwanted_tokens": sum(one.taught_tokens for one in made.replies if one.unwanted),
        "epochs": epochs,
        "steps": sum("loss" in row for row in history.rows),
        "first_loss": round(losses[0], 4),
        "final_loss": round(sum(last_pass) / len(last_pass), 4),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
    }
    if validation:
        figures["validation_loss"] = round(validation[-1], 4)
    if made.left_out:
        figures["left_out"] = dict(made.left_out)
    return figures
