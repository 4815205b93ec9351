"""A full disk, whichever library came upon it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from finetune.errors import DiskFullError, InputError, TrainingError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# torch writes its files through C++ streams, which drop the system's reason.
_TEXTS = (*(os.strerror(number) for number in _FULL), "iostream error")


@contextmanager
def full_disk_said(sentence: str) -> Iterator[None]:
    """Raise a `DiskFullError` that says `sentence` where the disk is full."""
    try:
        yield
    except (InputError, TrainingError):  # said already
        raise
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise DiskFullError(sentence) from error


def is_full_disk(error: BaseException) -> bool:
    """safetensors keeps the system's error as text only, torch hides it behind another of its."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    cause = error.__cause__ or error.__context__
    return any(text in str(error) for text in _TEXTS) or (cause is not None and is_full_disk(cause))
