"""A trained challenger into the registry: once, whole, and not promoted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from finetune.publishing import discard_abandoned, staged
from finetune.retraining.workspace import sync_folder
from inference.adapters import (
    CARD_FILE,
    AdapterError,
    AdapterInfo,
    AdapterRegistry,
    check_folder,
    weights_hash,
)


def publish(registry: AdapterRegistry, folder: Path, name: str, note: str) -> AdapterInfo:
    """Copy the finished adapter in `folder` into `registry` as the next version of `name`.

    A whole version with the note `note` and the same weights is there already if a killed run got
    that far; a damaged one is removed. What `name` stands for does not change.
    """
    weights = weights_hash(folder)
    for version in registry.versions(name):
        there = registry.folder_of(name, version)
        if _note(there) != note:
            continue
        try:
            info = registry.resolve_version(name, version)
        except AdapterError:
            info = None
        if info is None or not is_whole(there, info.card.weights_hash):
            shutil.rmtree(there)
        elif info.card.weights_hash == weights:  # not the same: the run had to prepare anew since
            return info
    with staged(registry, name) as staging:
        discard_abandoned(staging.parent.parent)
        for file in folder.iterdir():
            if file.is_file():
                shutil.copy2(file, staging / file.name)
                with (staging / file.name).open("rb") as stream:
                    os.fsync(stream.fileno())
        sync_folder(staging)
        info = registry.publish(staging, name, promote=False)
        sync_folder(info.folder.parent)
        return info


def is_whole(folder: Path, expected: str) -> bool:
    """Whether `folder` is a usable adapter whose weights have the hash `expected`."""
    try:
        check_folder(folder, folder.name, None)
    except AdapterError:
        return False
    return weights_hash(folder) == expected


def _note(folder: Path) -> str:
    """The note of a version; nothing, if its card cannot be read."""
    try:
        return str(json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))["note"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
