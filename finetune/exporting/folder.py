"""The folder that an export goes to: it appears whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.disk import full_disk_said
from finetune.errors import InputError


def check_folder(folder: Path, needed: int) -> None:
    """Raise `InputError` unless `needed` bytes can be written to the new or empty `folder`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output_dir = {folder} is a file; name a folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"output_dir = {folder} is not empty; empty it, or name another folder.")
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise InputError(
            f"The export takes {_megabytes(needed)} MB, but the disk of {folder} has only"
            f" {_megabytes(free)} MB free; free some space or name another output_dir."
        )


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` that becomes it in the end; after an error nothing is left.

    A full disk inside it is a `DiskFullError`; a place where nothing may be written an
    `InputError`.
    """
    draft = folder.absolute().parent / f".{folder.absolute().name}.exporting-{os.getpid()}"
    try:
        made = _make_parents(draft.parent)
        draft.mkdir()
    except OSError as error:
        raise InputError(
            f"output_dir = {folder} cannot be made: {error.strerror}; name another folder."
        ) from error
    full = (
        f"The disk of {folder} is full; nothing was exported, so free some space or name another"
        " output_dir."
    )
    done = False
    try:
        with full_disk_said(full):
            yield draft
            for file in draft.iterdir():
                file.chmod(draft.stat().st_mode & 0o666)  # safetensors lets nobody else read them
            if folder.is_dir():
                folder.rmdir()  # it is empty, else the operating system refuses
            draft.rename(folder)
        done = True
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in () if done else made:
            parent.rmdir()


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())


def _make_parents(folder: Path) -> list[Path]:
    """Make `folder`; returns what was not there before, innermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _megabytes(size: int) -> int:
    return round(size / 1e6)
