"""Where to train, and in which number format."""

from __future__ import annotations

import os

import pytest

from config import ModelSettings
from finetune.training import devices


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
    assert devices.use_one_gpu(device) == then
    assert environment.get("CUDA_VISIBLE_DEVICES") == left


def test_under_torchrun_every_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"LOCAL_RANK": "1"})
    assert devices.use_one_gpu("auto") == "auto"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("fast", "dtype", "then"),
    [
        (True, "auto", "bfloat16"),
        (False, "auto", "auto"),
        (True, "float32", "float32"),
    ],
)
def test_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str, then: str
) -> None:
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda: fast)
    settings = ModelSettings.model_validate({"device": "cpu", "dtype": dtype})
    assert devices.training_model(settings).dtype == then
