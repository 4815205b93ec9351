"""A challenger is published once, whole, and does not serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.retraining.publication import is_whole, publish
from inference.adapters import AdapterRegistry, weights_hash
from tests.finetune.retraining.light import adapter_files

NOTE = "retraining 2026-11-21T03-00-00Z"


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    adapter_files(folder, NOTE, "new weights")
    return folder


def test_it_is_published_without_serving(registry: AdapterRegistry, trained: Path) -> None:
    info = publish(registry, trained, "cast", NOTE)
    assert (info.label, info.promoted) == ("cast@1", False)
    assert registry.promoted("cast") is None
    assert is_whole(info.folder, info.card.weights_hash)
    assert (trained / "adapter_model.safetensors").is_file()  # until the stage is done


def test_it_is_published_once(registry: AdapterRegistry, trained: Path) -> None:
    first = publish(registry, trained, "cast", NOTE)
    assert publish(registry, trained, "cast", NOTE) == first
    assert publish(registry, trained, "cast", "retraining another").version == 2
    assert registry.versions("cast") == [1, 2]


def test_another_training_of_the_same_run_is_another_version(
    registry: AdapterRegistry, trained: Path
) -> None:
    """As after its training set was damaged, and made anew of what was said since."""
    first = publish(registry, trained, "cast", NOTE)
    adapter_files(trained, NOTE, "newer weights")
    again = publish(registry, trained, "cast", NOTE)
    assert (first.version, again.version) == (1, 2)
    assert is_whole(again.folder, weights_hash(trained))
    assert publish(registry, trained, "cast", NOTE) == again


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_damaged_one_of_the_same_run_is_replaced(
    registry: AdapterRegistry, trained: Path, file: str
) -> None:
    first = publish(registry, trained, "cast", NOTE)
    if file == "adapter_config.json":
        (first.folder / file).unlink()
    else:
        (first.folder / file).write_text("new wei")
    again = publish(registry, trained, "cast", NOTE)
    assert is_whole(again.folder, again.card.weights_hash)
    assert registry.versions("cast") == [again.version]
    assert registry.promoted("cast") is None
