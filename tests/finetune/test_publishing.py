"""Saving: checked, and cleaned away when it fails."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import LlamaForCausalLM

from finetune.errors import DiskFullError, TrainingError
from finetune.publishing import save_weights, staged
from inference.adapters import AdapterRegistry


@pytest.fixture
def model(tiny_folder: Path) -> Any:
    base = LlamaForCausalLM.from_pretrained(tiny_folder)
    return get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))


def b_matrices(model: Any) -> list[torch.Tensor]:
    return [p.data for name, p in model.named_parameters() if "lora_B" in name]


def test_a_trained_adapter_is_saved(model: Any, tmp_path: Path) -> None:
    b_matrices(model)[0].fill_(0.1)
    save_weights(model, tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_adapter_with_all_b_at_zero_is_empty(model: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is empty"):
        save_weights(model, tmp_path)


def test_an_adapter_that_is_no_number_is_refused(model: Any, tmp_path: Path) -> None:
    b_matrices(model)[0].fill_(float("inf"))
    with pytest.raises(TrainingError, match="infinite"):
        save_weights(model, tmp_path)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(model, "save_pretrained", full)
    registry = AdapterRegistry(tmp_path)
    with (
        pytest.raises(DiskFullError, match=r"disk of .* is full"),
        staged(registry, "vex") as folder,
    ):
        save_weights(model, folder)
    assert list(tmp_path.iterdir()) == []
