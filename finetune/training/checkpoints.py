"""Checkpoints to resume from: which are whole, and which belong to this training.

transformers writes adapter, optimizer, scheduler and random states; `training.json`, written last,
says that all of it is there, what it belongs to and which phase wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from finetune.errors import InputError
from finetune.training.marks import MARK, digests
from inference.adapters import WEIGHTS_FILE

FINISHED = "finished"  # the adapter that a phase ended with, for the phases behind it
_FOLDER = re.compile(r"checkpoint-(\d+)")
_NEEDED = (WEIGHTS_FILE, "optimizer.pt", "scheduler.pt", "trainer_state.json")


class Marking(TrainerCallback):
    """Marks every checkpoint as whole once it is."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self._identity = identity

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        draft = folder / f".{MARK}"
        marked = {**self._identity, "phase": folder.parent.name, "files": digests(folder)}
        draft.write_text(json.dumps(marked, indent=2), encoding="utf-8")
        draft.replace(folder / MARK)


def newest(scratch: Path) -> Path | None:
    """The furthest whole checkpoint under `scratch`, in the last phase that has one."""
    found = [
        (mark.parent.parent.name, int(step[1]), mark.parent)
        for mark in scratch.glob(f"*/checkpoint-*/{MARK}")
        if (step := _FOLDER.fullmatch(mark.parent.name))
    ]
    return max(found, default=(None, 0, None))[2]


def step_of(folder: Path) -> int:
    """After how many steps a checkpoint was written."""
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["global_step"])


def phase_of(folder: Path, phases: Sequence[str]) -> str:
    """Which of `phases` wrote a checkpoint that `check` let pass; `InputError` if none of them."""
    phase = json.loads((folder / MARK).read_text(encoding="utf-8")).get("phase")
    if phase is None:  # written before phases were marked
        phase = folder.parent.name
    if phase not in phases:
        raise InputError(
            f"The checkpoint {folder} was written in the phase {phase!r}, and this training has"
            f" only {', '.join(phases)}; resume from another one."
        )
    return str(phase)


def finished(folder: Path, phase: str) -> Path:
    """The adapter that an earlier `phase` left beside that of the checkpoint `folder`."""
    found = folder.parent.parent / phase / FINISHED
    if not (found / WEIGHTS_FILE).is_file():
        raise InputError(
            f"The checkpoint {folder} goes on from {found}, which is not there; copy the whole"
            " folder of the training, or resume from the checkpoint where it was written."
        )
    return found


def check(folder: Path, identity: dict[str, Any]) -> None:
    """Raise `InputError` unless `folder` is a whole checkpoint of the training `identity`."""
    if not folder.is_dir():
        raise InputError(f"There is no checkpoint {folder}; check --resume_from_checkpoint.")
    if not (folder / _NEEDED[0]).is_file():
        pickles = sorted(file.name for file in folder.glob("*.bin"))
        if pickles:
            raise InputError(
                f"The checkpoint {folder} holds {pickles[0]}, a pickle file, which can run code"
                " when it is loaded; only safetensors are resumed from."
            )
    missing = [name for name in (*_NEEDED, MARK) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"The checkpoint {folder} is not whole: {missing[0]} is missing; resume from an older"
            " one, or begin anew."
        )
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{folder / MARK} cannot be read; resume from another one.") from None
    _compare(folder, found, identity)


def _compare(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if found.get("base_fingerprint") != wanted["base_fingerprint"]:
        raise InputError(
            f"The checkpoint {folder} was trained on another base model"
            f" ({found.get('base_model')}), not {wanted['base_model']}; set model.base or"
            " --base_model to it."
        )
    for key, value in wanted["settings"].items():
        before = found.get("settings", {}).get(key)
        if before != value:
            raise InputError(
                f"The checkpoint {folder} was trained with {key} = {before}, not {value}; give the"
                " same to resume it."
            )
    if found.get("data") != wanted["data"]:
        raise InputError(
            f"The checkpoint {folder} was trained on other data; resume it with the data that it"
            " began with."
        )
