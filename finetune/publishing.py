"""A trained adapter onto the disk: whole, checked and named, or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.disk import full_disk_said
from finetune.errors import TrainingError
from inference.adapters import (
    BASE,
    CARD_FILE,
    DEFAULT,
    WEIGHTS_FILE,
    AdapterCard,
    AdapterRegistry,
    weights_hash,
)
from inference.types import ModelInfo

EMPTY = "The trained adapter is empty: it would change nothing; raise learning_rate or num_epochs."
_STAGING = re.compile(r"\.staging-(\d+)")
_REPOSITORY = Path(__file__).parent.parent
_GIT_SECONDS = 5.0


@contextmanager
def staged(registry: AdapterRegistry, name: str) -> Iterator[Path]:
    """A hidden folder to build a version of `name` in; whatever is left of it goes in the end.

    A full disk inside it is a `DiskFullError`.
    """
    folder = registry.staging_folder(name)
    try:
        with full_disk_said(
            f"The disk of {folder.parent} is full; free some space and train again, or move"
            " paths.data."
        ):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_if_empty(folder.parent)


def discard_abandoned(adapters: Path) -> None:
    """Remove the staging folders of processes that were killed."""
    for folder in adapters.glob("*/.staging-*"):
        owner = _STAGING.fullmatch(folder.name)
        if owner and not _is_running(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)
            _remove_if_empty(folder.parent)


def save_weights(model: Any, folder: Path, dtype: str = "float32") -> None:
    """Write the adapter of `model` (a `peft.PeftModel`) in the number format `dtype`; read it back.

    Raises `TrainingError` if what is on the disk is not what was trained, or changes nothing.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    wanted = getattr(torch, dtype)
    trained = {
        key: tensor.detach().cpu().to(wanted).contiguous()
        for key, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    # "auto" would ask the hub whether the vocabulary was resized.
    model.save_pretrained(str(folder), save_embedding_layers=False, selected_adapters=["default"])
    save_file(trained, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / "README.md").unlink(missing_ok=True)  # a model card with nothing filled in
    saved = load_file(folder / WEIGHTS_FILE)
    if saved.keys() != trained.keys() or any(
        not torch.equal(saved[key], tensor) and bool(tensor.isfinite().all())
        for key, tensor in trained.items()
    ):
        raise TrainingError(
            "The saved adapter is not what was trained; check the disk and train again."
        )
    check_weights(saved)


def check_weights(saved: Mapping[str, Any]) -> None:
    """Raise `TrainingError` unless the tensors of an adapter's file change the model, finitely."""
    if not all(tensor.isfinite().all() for tensor in saved.values()):
        raise TrainingError(
            "The trained adapter holds infinite numbers; lower learning_rate, or set save_dtype to"
            " float32."
        )
    # B starts at zero, so an adapter whose every B is zero was never trained.
    effective = [tensor for key, tensor in saved.items() if "lora_A" not in key]
    if "lora_B" in "".join(saved):
        effective = [tensor for key, tensor in saved.items() if "lora_B" in key]
    if not any(tensor.any() for tensor in effective):
        raise TrainingError(EMPTY)


def describe(
    folder: Path,
    model: ModelInfo,
    *,
    data_hash: str,
    note: str,
    training: dict[str, Any],
    figures: dict[str, Any],
) -> AdapterCard:
    """Write `troupe.json` beside the adapter saved in `folder`, and all of it to the disk."""
    card = AdapterCard(
        base_model=model.name,
        base_fingerprint=model.fingerprint,
        prompt_format=model.prompt_format,
        weights_hash=weights_hash(folder),
        data_hash=data_hash,
        git_commit=_git_commit(),
        note=note,
        training=training,
        figures=figures,
    )
    text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o666 & ~_umask())  # safetensors lets nobody else read what it writes
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    return card


def deliver(folder: Path, target: Path) -> None:
    """Move the files of the finished adapter in `folder` to `target`, on the same file system.

    The weights come last, in one step: until then there is no adapter in `target`.
    """
    weights = target / WEIGHTS_FILE
    weights.unlink(missing_ok=True)
    for file in folder.iterdir():
        if file.name != WEIGHTS_FILE:
            file.replace(target / file.name)
    (folder / WEIGHTS_FILE).replace(weights)


def adapter_name(wanted: str) -> str:
    """`wanted` (a file's stem, a character's id) made into a legal adapter name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", wanted.lower()).strip("-_")[:64]
    return f"{name or 'adapter'}-lora" if name in ("", BASE, DEFAULT) else name


def _umask() -> int:
    """The permissions that new files do not get; only setting it tells what it was."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _git_commit() -> str:
    """The commit of this checkout; empty where there is none."""
    command = ["git", "-C", str(_REPOSITORY), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # it holds versions, or is gone already
        return
