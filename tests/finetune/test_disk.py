"""A full disk is known by whatever is left of the system's word for it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from finetune.disk import full_disk_said, is_full_disk
from finetune.errors import DiskFullError, InputError


def test_it_is_known_through_libraries(tmp_path: Path) -> None:
    assert is_full_disk(OSError(errno.ENOSPC, "voll"))
    assert is_full_disk(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert not is_full_disk(OSError(errno.EACCES, "Permission denied"))
    # `/dev/full` answers every write as a full disk does; torch opens a path itself.
    file = tmp_path / "optimizer.pt"
    file.symlink_to("/dev/full")
    with pytest.raises(RuntimeError) as caught:
        torch.save({"state": torch.zeros(1 << 20)}, file)
    assert is_full_disk(caught.value)


def test_it_is_said_once() -> None:
    with (
        pytest.raises(DiskFullError, match="inner"),
        full_disk_said("outer"),
        full_disk_said("inner"),
    ):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    assert issubclass(DiskFullError, InputError)  # exit code 2
