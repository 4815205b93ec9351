"""How long to train, and running out of memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import trl

from config import FinetuneSettings, ModelSettings
from finetune.dataset import IGNORE_INDEX, Encoded
from finetune.errors import InputError, TrainingError
from finetune.progress import Progress
from finetune.training.trainer import check_settings, epochs_for, train, use_one_gpu
from inference.model_loading import load_model
from tests.conftest import MODELS

ENCODED = [Encoded((5, 6, 7, 2), (IGNORE_INDEX, IGNORE_INDEX, 7, 2), 1)] * 4


def test_a_small_set_is_gone_through_more_often() -> None:
    settings = FinetuneSettings()
    assert epochs_for(settings, examples=1000) == 3
    assert epochs_for(settings, examples=5) == 5
    assert epochs_for(settings, examples=1) == 10
    assert epochs_for(FinetuneSettings(num_epochs=0.5), examples=5) == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"lora_target_modules": ["q_proj", "w_proj"]},
            "no linear layer 'w_proj'.* it has .*q_proj",
        ),
        ({"lora_target_modules": ["lm_head"]}, "no linear layer 'lm_head'"),
        ({"cutoff_len": 9999}, "more than the 2048 tokens"),
    ],
)
def test_what_the_model_cannot_do_is_one_sentence(
    tiny_folder: Path, settings: dict[str, object], said: str
) -> None:
    loaded = load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)
    with pytest.raises(InputError, match=said):
        check_settings(FinetuneSettings.model_validate(settings), loaded)


@pytest.mark.parametrize(
    ("device", "visible", "then", "left"),
    [
        ("auto", None, "auto", "0"),
        ("cuda:1", None, "cuda", "1"),
        ("cuda:1", "4,6", "cuda", "6"),
        ("cuda:3", "4,6", "cuda", "4,6"),
        ("cpu", None, "cpu", None),
    ],
)
def test_one_gpu_stays_in_sight(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, then: str, left: str | None
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    monkeypatch.setattr(os, "environ", environment)
    assert use_one_gpu(device) == then
    assert environment.get("CUDA_VISIBLE_DEVICES") == left


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_names_what_to_lower(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(trl.SFTTrainer, "training_step", full)
    loaded = load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)
    with (
        pytest.raises(TrainingError, match=r"lower micro_batch_size \(1\) or cutoff_len \(1024\)"),
        Progress("Training") as progress,
    ):
        train(
            loaded, ENCODED, FinetuneSettings(), seed=0, scratch=tmp_path / "s", progress=progress
        )


def test_training_twice_with_one_seed_gives_the_same_loss(
    tiny_folder: Path, tmp_path: Path
) -> None:
    losses = []
    for _ in range(2):
        loaded = load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)
        settings = FinetuneSettings(num_epochs=2, learning_rate=1e-2)
        with Progress("Training") as progress:
            trained = train(
                loaded, ENCODED, settings, seed=3, scratch=tmp_path / "s", progress=progress
            )
        losses.append((trained.figures["first_loss"], trained.figures["final_loss"]))
    assert losses[0] == losses[1]
    assert losses[0][1] < losses[0][0]
