"""The folder in which a training keeps its checkpoints until the adapter is done."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.errors import InputError

_LOCK = ".lock"


@contextmanager
def workplace(folder: Path, *, keep: bool) -> Iterator[Path]:
    """`folder` for this training alone, without what an earlier one left unless `keep`.

    It stays when something is raised, to resume from, and goes when all went well. Raises
    `InputError` if another training is in it or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder} cannot be written: {reason}; choose another place.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another training is at work in {folder}; wait for it or choose another --name."
            ) from None
        if not keep:
            _clear(folder)
        try:
            yield folder
        except BaseException:
            if not _phases(folder):  # nothing to resume from
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _phases(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir() and any(entry.iterdir())]


def _clear(folder: Path) -> None:
    old = _phases(folder)
    if old:
        print(
            f"Beginning anew; the unfinished training in {folder} is discarded"
            " (--resume_from_checkpoint auto would have gone on with it).",
            file=sys.stderr,
        )
    for phase in old:
        shutil.rmtree(phase)
