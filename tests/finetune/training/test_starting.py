"""Training that goes on from an adapter: which fit, and that its weights are where it begins."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from config import FinetuneSettings
from finetune.errors import InputError
from finetune.progress import Progress
from finetune.training import checkpoints
from finetune.training.replies import ReplyTrainer
from finetune.training.starting import find_start
from finetune.training.trainer import Trained, learn
from inference.adapters import AdapterError, AdapterInfo, AdapterRegistry
from inference.model_loading import LoadedModel
from tests.conftest import MakeAdapter
from tests.finetune.conftest import MakePlace
from tests.finetune.training.conftest import SET

SHAPE: dict[str, Any] = {
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_modules": ["down_proj", "q_proj"],
    "batch_size": 2,
    "micro_batch_size": 2,
    "num_epochs": 2.0,
    "save_steps": 0,
}
Load = Callable[[], LoadedModel]


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


@pytest.fixture(scope="module")
def loaded(load: Load) -> LoadedModel:
    """The tiny model, for tests that do not train it."""
    return load()


@pytest.fixture
def vex(loaded: LoadedModel, registry: AdapterRegistry, make_adapter: MakeAdapter) -> AdapterInfo:
    """An adapter of the tiny model, rank 4."""
    return make_adapter(loaded, registry, "vex", scale=0.05)


def settings(**changes: Any) -> FinetuneSettings:
    return FinetuneSettings.model_validate({**SHAPE, **changes})


def taught(
    loaded: LoadedModel, scratch: Path, *, resume: Path | None = None,
    start: AdapterInfo | None, **changes: Any,
) -> Trained:  # fmt: skip
    with Progress("Training", shown=False) as progress:
        return learn(
            loaded,
            SET,
            settings(**changes),
            seed=3,
            scratch=scratch,
            progress=progress,
            resume=resume,
            start=start,
        )


def tensors(trained: Trained) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(
        trained.model, save_embedding_layers=False
    )
    return found


def test_it_begins_with_those_weights(load: Load, vex: AdapterInfo, tmp_path: Path) -> None:
    trained = taught(load(), tmp_path / "scratch", start=vex, learning_rate=1e-9)
    before = load_file(vex.weights)
    after = tensors(trained)
    assert after.keys() == before.keys()
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in before)
    assert any(before[name].abs().max() > 0.01 for name in before if "lora_B" in name)


def test_going_on_from_a_checkpoint_does_not_begin_again(
    load: Load, vex: AdapterInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast: dict[str, Any] = {"learning_rate": 1e-2}
    whole = taught(load(), tmp_path / "whole", start=vex, **fast)
    step = ReplyTrainer.training_step

    def stopping(self: ReplyTrainer, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments, **named)

    scratch = tmp_path / "scratch"
    with monkeypatch.context() as patch:
        patch.setattr(ReplyTrainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            taught(load(), scratch, start=vex, **fast)
    checkpoint = checkpoints.newest(scratch)
    assert checkpoint is not None
    resumed = taught(load(), scratch, start=vex, resume=checkpoint, **fast)
    expected = tensors(whole)
    for name, tensor in tensors(resumed).items():
        assert torch.allclose(tensor, expected[name], atol=1e-5), name
    with pytest.raises(InputError, match=r"start_from = vex@1 \(\w{12}\), not None"):
        taught(load(), scratch, start=None, resume=checkpoint, **fast)


def test_an_adapter_with_other_layers_is_one_sentence(
    load: Load, vex: AdapterInfo, tmp_path: Path
) -> None:
    kept = load_file(vex.weights)
    lost = min(kept)
    del kept[lost]
    save_file(kept, vex.weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"vex@1 does not fit this model at {lost}"):
        taught(load(), tmp_path / "scratch", start=vex)


def test_what_fits_is_found(
    loaded: LoadedModel, registry: AdapterRegistry, vex: AdapterInfo
) -> None:
    for name in ("vex", "vex@1"):
        assert find_start(registry, name, loaded, settings()).folder == vex.folder
    targets = {"lora_target_modules": ["q_proj", "down_proj"]}
    assert find_start(registry, "vex", loaded, settings(**targets, lora_dropout=0.1)) == vex


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_r": 8}, "vex@1 was trained with lora_r = 4 and this training has lora_r = 8"),
        ({"lora_alpha": 16}, "lora_alpha = 8 and this training has lora_alpha = 16"),
        ({"use_dora": True}, "use_dora = False and this training has use_dora = True"),
        ({"use_rslora": True}, "use_rslora = False and this training has use_rslora = True"),
        (
            {"lora_target_modules": ["q_proj", "v_proj"]},
            "lora_target_modules = down_proj,q_proj and this training has q_proj,v_proj",
        ),
        ({"method": "prompt_tuning"}, "prompt_tuning learns a prompt and cannot go on"),
    ],
)
def test_another_shape_is_refused_naming_both(
    loaded: LoadedModel,
    registry: AdapterRegistry,
    vex: AdapterInfo,
    changes: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(InputError, match=said):
        find_start(registry, vex.name, loaded, settings(**changes))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"use_dora": True}, "use_dora = True and this training has use_dora = False"),
        ({"peft_type": "PROMPT_TUNING"}, "vex@1 is a learnt prompt"),
        ({"peft_type": "LOHA"}, "vex@1 has peft_type LOHA"),
        ({"rank_pattern": {"q_proj": 2}}, "vex@1 has rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "vex@1 has modules_to_save"),
    ],
)
def test_another_kind_of_adapter_is_refused(
    loaded: LoadedModel,
    registry: AdapterRegistry,
    vex: AdapterInfo,
    written: dict[str, Any],
    said: str,
) -> None:
    file = vex.folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **written}))
    with pytest.raises(InputError, match=said):
        find_start(registry, "vex", loaded, settings())


def test_the_model_without_adapter_is_nothing_to_begin_with(
    loaded: LoadedModel, registry: AdapterRegistry
) -> None:
    for name in ("base", "default"):  # the shipped default is for another model
        with pytest.raises(InputError, match=f"{name} stands for the model without adapter"):
            find_start(registry, name, loaded, settings())
    with pytest.raises(AdapterError, match="no adapter 'nobody'"):
        find_start(registry, "nobody", loaded, settings())


def test_a_model_in_slices_is_refused(
    loaded: LoadedModel,
    registry: AdapterRegistry,
    vex: AdapterInfo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="in slices"):
        find_start(registry, vex.name, loaded, settings())


def test_the_command_goes_on_and_writes_down_from_what(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"{n} it is."} for n in range(8)]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    arguments = ("--data_path", str(file), "--name", "vex", "--num_epochs", "1", "--json")
    first = place.train(*arguments, "--learning_rate", "1e-2")
    assert first.returncode == 0, first.stderr
    refused = place.train(*arguments, "--start_from", "vex", "--lora_r", "8")
    assert refused.returncode == 2
    assert "lora_r = 16 and this training has lora_r = 8" in refused.stderr
    second = place.train(*arguments, "--start-from", "vex@1")
    assert second.returncode == 0, second.stderr
    begun, went_on = json.loads(first.stdout), json.loads(second.stdout)
    assert went_on["adapter"] == "vex@2"
    assert went_on["training"]["start_from"] == "vex@1"
    assert begun["training"]["start_from"] is None
    assert went_on["figures"]["first_loss"] < begun["figures"]["first_loss"]
