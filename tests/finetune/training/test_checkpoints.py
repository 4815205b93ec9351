"""Going on from a checkpoint, and what is refused as one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import InputError
from finetune.training import checkpoints
from finetune.training.marks import MARK
from finetune.training.replies import ReplyTrainer
from finetune.training.trainer import Trained
from inference.model_loading import LoadedModel
from tests.finetune.training.conftest import Learn, teaching

LONG = {"num_epochs": 2.0, "learning_rate": 1e-2, "lora_dropout": 0.1, "save_steps": 2}


def losses(trained: Trained) -> list[float]:
    """Of training and validation, in order."""
    return [float(row.get("loss", 0) or row["validation_loss"]) for row in trained.history]


def interrupted(teach: Learn, monkeypatch: pytest.MonkeyPatch, at: int, **options: Any) -> None:
    """A training that Ctrl-C stops in step `at`."""
    step = ReplyTrainer.training_step

    def stopping(self: ReplyTrainer, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == at - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ReplyTrainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            teach(**{**LONG, **options})


@pytest.fixture(scope="module")
def whole(load: Callable[[], LoadedModel], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The training that nothing stopped."""
    return teaching(load, tmp_path_factory.mktemp("whole"))(**{**LONG, "save_steps": 0})


def test_ctrl_c_leaves_a_checkpoint_and_going_on_ends_where_it_would_have(
    teach: Learn, whole: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(teach, monkeypatch, at=3)
    checkpoint = checkpoints.newest(tmp_path / "scratch")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-3"
    resumed = teach(resume=checkpoint, **LONG)
    assert [row["step"] for row in resumed.history] == [row["step"] for row in whole.history]
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-5)
    for mine, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert mine.sub(theirs).abs().max() < 1e-5


@pytest.mark.slow
def test_a_later_phase_goes_on_with_what_the_first_learnt(
    teach: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from finetune.training.preference import PairTrainer

    options = {**LONG, "method": "sft+dpo", "save_steps": 1, "preference_learning_rate": 1e-3}
    whole = teach(**{**options, "save_steps": 0})
    step = PairTrainer.training_step

    def stopping(self: PairTrainer, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            teach(**options)
    checkpoint = checkpoints.newest(tmp_path / "scratch")
    assert checkpoint is not None
    assert checkpoint.parent.name == "2-pairs"
    moved = (tmp_path / "scratch").rename(tmp_path / "moved")
    resumed = teach(resume=moved / "2-pairs" / checkpoint.name, **options)
    assert (tmp_path / "scratch" / "1-replies" / checkpoints.FINISHED).is_dir()
    after = [row for row in resumed.history if row["phase"] == "pairs"]
    assert after[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-4)


def test_a_checkpoint_is_resumed_from_wherever_it_lies(
    teach: Learn, whole: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(teach, monkeypatch, at=3)
    copy = tmp_path / "elsewhere" / "mine"
    shutil.copytree(tmp_path / "scratch" / "1-replies" / "checkpoint-3", copy)
    monkeypatch.chdir(copy)
    resumed = teach(resume=Path(), **LONG)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-5)


def test_a_checkpoint_without_the_phases_before_it_is_one_sentence(
    teach: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {**LONG, "method": "sft+dpo"}
    interrupted(teach, monkeypatch, at=2, **options)
    checkpoint = checkpoints.newest(tmp_path / "scratch")
    assert checkpoint is not None
    mark = checkpoint / MARK
    values = json.loads(mark.read_text())
    assert values["phase"] == "1-replies"
    mark.write_text(json.dumps({**values, "phase": "2-pairs"}))
    with pytest.raises(InputError, match=r"1-replies/finished, which is not there"):
        teach(resume=checkpoint, **options)
    mark.write_text(json.dumps({**values, "phase": "1-votes"}))
    with pytest.raises(InputError, match=r"phase '1-votes', .* only 1-replies, 2-pairs"):
        teach(resume=checkpoint, **options)


def test_what_does_not_belong_together_is_one_sentence(
    teach: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(teach, monkeypatch, at=2)
    checkpoint = checkpoints.newest(tmp_path / "scratch")
    assert checkpoint is not None
    with pytest.raises(InputError, match=r"was trained with lora_r = 16, not 4"):
        teach(resume=checkpoint, **{**LONG, "lora_r": 4})
    with pytest.raises(InputError, match="trained on other data"):
        teach(resume=checkpoint, **{**LONG, "cutoff_len": 1024}, made=_other_data())

    def marked(**changes: object) -> None:
        values = json.loads((checkpoint / MARK).read_text())
        (checkpoint / MARK).write_text(json.dumps({**values, **changes}))

    marked(base_fingerprint="another", base_model="Llama-2-7b")
    with pytest.raises(InputError, match=r"another base model \(Llama-2-7b\), not tiny"):
        teach(resume=checkpoint, **LONG)
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(InputError, match=r"not whole: optimizer\.pt is missing"):
        teach(resume=checkpoint, **LONG)
    (checkpoint / "adapter_model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin, a pickle file"):
        teach(resume=checkpoint, **LONG)
    with pytest.raises(InputError, match="There is no checkpoint"):
        teach(resume=tmp_path / "none", **LONG)


def _other_data() -> Any:
    from dataclasses import replace

    from tests.finetune.training.conftest import SET, example

    return replace(SET, train=(*SET.train[:-1], example("Another?", "Yes, another.")))


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (4, 20, 100):
        folder = tmp_path / "1-replies" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if step < 100:
            (folder / MARK).write_text("{}")
    newest = checkpoints.newest(tmp_path)
    assert newest is not None
    assert newest.name == "checkpoint-20"
    shutil.rmtree(tmp_path / "1-replies")
    assert checkpoints.newest(tmp_path) is None


_KILLED = """
import os, signal, sys
from pathlib import Path
from config import FinetuneSettings, ModelSettings
from finetune.progress import Progress
from finetune.training.replies import ReplyTrainer
from finetune.training.trainer import learn
from inference.model_loading import load_model
from tests.conftest import MODELS
from tests.finetune.training.conftest import SET, LOUDER

step = ReplyTrainer.training_step
def dying(self, *arguments, **named):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **named)
ReplyTrainer.training_step = dying
loaded = load_model(ModelSettings(base=sys.argv[1], device="cpu"), MODELS)
loaded.model.get_input_embeddings().weight.data *= LOUDER
settings = FinetuneSettings(num_epochs=2.0, learning_rate=1e-2, lora_dropout=0.1, save_steps=2,
    batch_size=2, micro_batch_size=2)
with Progress("Training", shown=False) as progress:
    learn(loaded, SET, settings, seed=3, scratch=Path(sys.argv[2]), progress=progress)
"""


def test_after_kill_9_it_goes_on_from_the_last_checkpoint(
    teach: Learn, whole: Trained, tiny_folder: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tiny_folder), str(scratch)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    checkpoint = checkpoints.newest(scratch)
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2"
    resumed = teach(resume=checkpoint, **LONG)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-5)
