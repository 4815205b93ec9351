"""The folder of checkpoints: one training at a time, kept only where something is left to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.errors import InputError
from finetune.training.workplace import workplace


def checkpoint(folder: Path) -> None:
    (folder / "1-replies" / "checkpoint-5").mkdir(parents=True)


def stopped(place: Path, *, keep: bool) -> None:
    with workplace(place, keep=keep) as folder:
        checkpoint(folder)
        raise KeyboardInterrupt


def test_it_goes_when_all_went_well(tmp_path: Path) -> None:
    place = tmp_path / "vex"
    with workplace(place, keep=False) as folder:
        checkpoint(folder)
    assert not place.exists()


def test_what_can_be_resumed_stays(tmp_path: Path) -> None:
    place = tmp_path / "vex"
    with pytest.raises(KeyboardInterrupt):
        stopped(place, keep=False)
    assert (place / "1-replies" / "checkpoint-5").is_dir()
    with workplace(place, keep=True) as folder:
        assert (folder / "1-replies" / "checkpoint-5").is_dir()


def test_nothing_stays_of_a_training_that_never_began(tmp_path: Path) -> None:
    with pytest.raises(InputError), workplace(tmp_path / "vex", keep=False):
        raise InputError("No.")
    assert list(tmp_path.iterdir()) == []


def test_beginning_anew_says_what_it_discards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(tmp_path)
    with workplace(tmp_path, keep=False) as folder:
        assert not (folder / "1-replies").exists()
    assert "--resume_from_checkpoint auto would have gone on" in capsys.readouterr().err


def test_two_trainings_do_not_share_it(tmp_path: Path) -> None:
    with (
        workplace(tmp_path, keep=False),
        pytest.raises(InputError, match="Another training is at work"),
        workplace(tmp_path, keep=False),
    ):
        pass
    assert not list(tmp_path.parent.glob("vex"))


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(InputError, match="cannot be written"),
        workplace(tmp_path / "file" / "x", keep=False),
    ):
        pass
