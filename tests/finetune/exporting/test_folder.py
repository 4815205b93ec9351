import errno
from pathlib import Path

import pytest
import torch

from finetune.errors import DiskFullError, InputError
from finetune.exporting.folder import check_folder, staged


def test_it_appears_when_all_is_done(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with staged(out) as draft:
        (draft / "file").write_text("x")
        assert not out.exists()
    assert (out / "file").read_text() == "x"
    assert _names(out.parent) == ["out"]


def test_an_empty_folder_is_taken_and_a_filled_one_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with staged(out) as draft:
        (draft / "new").touch()
    assert _names(out) == ["new"]
    with pytest.raises(OSError, match="not empty"), staged(out) as draft:
        (draft / "newer").touch()
    assert _names(out) == ["new"]
    assert _names(tmp_path) == ["out"]


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=str,
)
def test_a_full_disk_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(DiskFullError, match="is full"), staged(tmp_path / "a" / "b"):
        raise error
    assert _names(tmp_path) == []


def test_torch_on_a_full_disk_is_recognised(tmp_path: Path) -> None:
    """`/dev/full` answers every write as a full disk does."""
    with (
        pytest.raises(DiskFullError, match="is full"),
        staged(tmp_path / "out"),
        Path("/dev/full").open("wb") as stream,
    ):
        torch.save({"weight": torch.zeros(1 << 20)}, stream)


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="other"), staged(tmp_path / "out"):
        raise RuntimeError("other")
    assert _names(tmp_path) == []


def test_too_little_room_and_no_room_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"takes 1000000000000 MB, but the disk"):
        check_folder(tmp_path / "a" / "out", 10**18)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"), staged(tmp_path / "file" / "out"):
        raise AssertionError("never here")
