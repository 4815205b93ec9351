import errno
import json
from pathlib import Path

import pytest

from config import ModelSettings
from finetune.__main__ import main
from finetune.exporting import hugging_face
from tests.finetune.conftest import Place, place_in
from tests.finetune.exporting.conftest import MakeWorkshop, byte_level, make_workshop

__all__ = ["byte_level", "make_workshop"]  # fixtures of tests/finetune/exporting


@pytest.fixture
def place(make_workshop: MakeWorkshop, tmp_path: Path) -> Place:
    """A tiny model with a small vocabulary: 49152 tokens take seconds to write and to read."""
    return place_in(tmp_path, ModelSettings(base=str(make_workshop().base), device="cpu"))


def _run(place: Place, *arguments: str) -> int:
    return main(["export", "--config", str(place.file), *arguments])


def test_the_figures_come_as_json(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = _run(place, "--adapter", "base", "--format", "gguf", "--output-dir", str(out), "--json")
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed["folder"] == str(out)
    assert printed["files"] == {"model-F16.gguf": (out / "model-F16.gguf").stat().st_size}
    assert printed["dtype"] == "float16"
    assert 0 < printed["verified"]["distance"] <= printed["verified"]["tolerance"]


def test_a_person_reads_one_sentence(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ("--format", "huggingface", "--output_dir", str(out), "--dtype", "bfloat16")
    assert _run(place, "--adapter", "base", *options) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Exported base to {out}: huggingface, bfloat16, ")
    assert printed.count("\n") == 1


def test_a_mistake_is_one_sentence_and_two(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--format", "meta", "--output_dir", str(tmp_path / "out"))
    assert _run(place, "--adapter", "nobody", *out) == 2
    error = capsys.readouterr().err
    assert error == "There is no adapter 'nobody'; there are base, default.\n"
    with pytest.raises(SystemExit) as stopped:
        _run(place, "--adapter", "base", "--format", "onnx", "--output_dir", "x")
    assert stopped.value.code == 2
    assert "'onnx'" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_two(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hugging_face, "write", full)
    out = tmp_path / "out"
    arguments = ("--adapter", "base", "--format", "huggingface", "--output_dir", str(out))
    assert _run(place, *arguments) == 2
    assert capsys.readouterr().err.endswith(
        f"The disk of {out} is full; nothing was exported, so free some space or name another"
        " output_dir.\n"
    )
