"""What a killed training left: a finished adapter, checkpoints to go on from, and damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from finetune.training.marks import MARK, digests
from inference.adapters import WEIGHTS_FILE, AdapterError, check_folder, weights_hash


def finished(folder: Path) -> bool:
    """Whether the adapter in `folder` is whole; its weights are moved there last."""
    if not (folder / WEIGHTS_FILE).is_file():
        return False
    try:
        card = check_folder(folder, folder.name, None)
    except AdapterError:
        return False
    return card.weights_hash == weights_hash(folder)


def clear_damage(folder: Path) -> Iterator[str]:
    """Remove from `folder`, where a training keeps its files, what cannot be gone on with.

    Half-written adapters and damaged checkpoints go; the training then goes on from an older
    checkpoint or begins anew. Says what went, a sentence each.
    """
    for abandoned in folder.glob(".staging-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    if not finished(folder):
        for entry in folder.glob("*"):
            if entry.is_file():  # of an adapter without its weights
                entry.unlink()
    for checkpoint in sorted(folder.glob("checkpoints/*/checkpoint-*")):
        wrong = damage(checkpoint)
        if wrong:
            shutil.rmtree(checkpoint, ignore_errors=True)
            yield f"{checkpoint.name} is left out: {wrong}."


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint; nothing, if it is as it was written."""
    try:
        marked = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        expected = dict(marked["files"])
    except FileNotFoundError:
        return "it was not written to its end"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {MARK} cannot be read"
    present = digests(checkpoint)
    for name, digest in expected.items():
        if present.get(name) != digest:
            return f"its {name} is missing or damaged"
    return ""
