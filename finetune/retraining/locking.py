"""One retraining at a time on a data folder, whoever starts it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.errors import InputError

LOCK_FILE = "lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the kernel lets go of it however the process ends.

    Raises `InputError` if another process holds it or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror or error}; check paths.data."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another retraining is at work in {folder}; wait for it, or end it with /retrain"
                " cancel."
            ) from None
        yield
