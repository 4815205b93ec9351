"""Where loss and learning rate are sent besides the terminal: TensorBoard, wandb or trackio."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from finetune.errors import InputError

PROJECT = "troupe"  # under which trackio files a run, and wandb unless told otherwise
RUNS = "runs"  # the folder that TensorBoard reads


def check_installed(tool: str) -> None:
    """Raise `InputError` unless `tool`, a value of `report_to`, can be imported."""
    if tool != "none" and importlib.util.find_spec(tool) is None:
        raise InputError(
            f"{tool} is not installed; pip install {tool}, or set report_to to none"
            + (" and leave out --wandb_project." if tool == "wandb" else ".")
        )


def set_up(wandb: Mapping[str, str], folder: Path) -> None:
    """Set the environment that the tools read; `folder` is where TensorBoard's files go."""
    os.environ.update(wandb)
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / RUNS))


def refusal(tool: str, error: Exception) -> InputError | None:
    """The sentence for an `error` that `tool` itself raised, as wandb does without a key."""
    if type(error).__module__.partition(".")[0] != tool:
        return None
    reason = " ".join(str(error).split()).rstrip(".")
    return InputError(f"{tool} takes no report ({reason}); mend that, or set report_to to none.")
