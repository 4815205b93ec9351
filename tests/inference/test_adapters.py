import json
import threading
from pathlib import Path

import pytest

from inference.adapters import (
    SHIPPED,
    AdapterError,
    AdapterRegistry,
    check_folder,
    weights_hash,
)
from inference.model_loading import LoadedModel
from tests.conftest import MakeAdapter


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters", shipped=None)


def test_a_name_follows_the_promoted_version(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    make_adapter(tiny, registry, "pirate", seed=1)
    make_adapter(tiny, registry, "pirate", seed=2)
    assert registry.names() == ["base", "default", "pirate"]
    newest = registry.resolve("pirate", tiny.info.fingerprint)
    assert newest is not None
    assert newest.label == "pirate@2"
    assert newest.promoted
    registry.promote("pirate", 1)
    older = registry.resolve("pirate")
    assert older is not None
    assert older.version == 1
    one = registry.resolve("pirate@2")
    assert one is not None
    assert not one.promoted
    assert one.card.weights_hash != older.card.weights_hash
    assert [info.label for info in registry.list()] == ["pirate@1", "pirate@2"]


def test_base_and_default_are_always_there(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    assert registry.names() == ["base", "default"]
    assert registry.resolve("base") is None
    assert registry.resolve("default") is None
    make_adapter(tiny, registry, "default")
    promoted = registry.resolve("default")
    assert promoted is not None
    assert promoted.label == "default@1"
    assert registry.names() == ["base", "default"]


def test_what_is_shipped_is_the_default_of_its_own_model(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    folder = make_adapter(tiny, registry, "made").folder
    shipped = AdapterRegistry(tmp_path / "others", shipped=folder)
    first = shipped.resolve("default", tiny.info.fingerprint)
    assert first is not None
    assert (first.label, first.folder, first.promoted) == ("default@0", folder, True)
    assert [info.label for info in shipped.list(tiny.info.fingerprint)] == ["default@0"]
    assert shipped.resolve("default", "0" * 32) is None  # another model has none
    with pytest.raises(AdapterError, match="another base model"):
        shipped.resolve("default@0", "0" * 32)
    with pytest.raises(AdapterError, match="no adapter 'made'"):
        shipped.resolve("made@0")
    make_adapter(tiny, shipped, "default")
    trained = shipped.resolve("default", tiny.info.fingerprint)
    assert trained is not None
    assert trained.label == "default@1"
    shipped.promote("default", 0)
    back = shipped.resolve("default", tiny.info.fingerprint)
    assert back is not None
    assert back.label == "default@0"


def test_the_shipped_adapter_is_small_and_says_where_it_comes_from() -> None:
    card = check_folder(SHIPPED, "default@0", None)
    weights = SHIPPED / "adapter_model.safetensors"
    assert weights.stat().st_size <= 10_000_000
    assert card.weights_hash == weights_hash(SHIPPED)
    assert card.training["data"]["replay"]["licence"] == "CC-BY-4.0"
    assert card.figures["evaluation"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody", "no adapter 'nobody'; there are base, default, pirate"),
        ("pirate@7", "no version 7; it has 1"),
        ("pirate@latest", "is not an adapter's name"),
        ("../pirate", "is not an adapter's name"),
        ("a/b", "is not an adapter's name"),
        ("/etc", "is not an adapter's name"),
        ("..", "is not an adapter's name"),
        ("", "is not an adapter's name"),
        ("pirate\n", "is not an adapter's name"),
        ("base@1", "base model has no versions"),
    ],
)
def test_names_that_mean_nothing_are_refused_in_a_sentence(
    registry: AdapterRegistry,
    tiny: LoadedModel,
    make_adapter: MakeAdapter,
    name: str,
    sentence: str,
) -> None:
    make_adapter(tiny, registry, "pirate")
    with pytest.raises(AdapterError, match=sentence) as caught:
        registry.resolve(name)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_base_is_refused(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    make_adapter(tiny, registry, "pirate")
    with pytest.raises(AdapterError, match="made for another base model"):
        registry.resolve("pirate", "0" * 32)
    assert registry.list("0" * 32) == []
    assert len(registry.list(tiny.info.fingerprint)) == 1


def test_pickles_and_missing_files_are_refused(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    folder = make_adapter(tiny, registry, "pirate").folder
    card = (folder / "troupe.json").read_text()
    (folder / "troupe.json").write_text("{")
    with pytest.raises(AdapterError, match=r"troupe\.json of adapter pirate@1"):
        registry.resolve("pirate")
    (folder / "troupe.json").unlink()
    with pytest.raises(AdapterError, match=r"has no troupe\.json"):
        registry.resolve("pirate")
    (folder / "troupe.json").write_text(card)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="pickle file, which can run code"):
        registry.resolve("pirate")
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors"):
        registry.resolve("pirate")


def test_publishing_something_unusable_changes_nothing(registry: AdapterRegistry) -> None:
    staging = registry.staging_folder("pirate")
    with pytest.raises(AdapterError, match="has no"):
        registry.publish(staging, "pirate")
    assert registry.versions("pirate") == []
    for name in ("base", "Pirate", "a b", "../x", ""):
        with pytest.raises(AdapterError):
            registry.staging_folder(name)


def test_a_torn_promotion_file_leaves_the_newest_serving(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    folder = make_adapter(tiny, registry, "pirate").folder
    (folder.parent / "current").write_text("")
    assert registry.promoted("pirate") == 1
    (folder.parent / "current").write_text("99")
    assert registry.promoted("pirate") == 1


def test_a_reader_sees_the_old_version_or_the_new_one(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    make_adapter(tiny, registry, "pirate", seed=1)
    make_adapter(tiny, registry, "pirate", seed=2)
    done = threading.Event()

    def promote() -> None:
        for turn in range(100):
            registry.promote("pirate", 1 + turn % 2)
        done.set()

    thread = threading.Thread(target=promote)
    thread.start()
    while not done.is_set():
        info = registry.resolve("pirate")
        assert info is not None
        assert info.version in (1, 2)
    thread.join()


def test_a_card_from_a_newer_release_is_still_read(
    registry: AdapterRegistry, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    file = make_adapter(tiny, registry, "pirate").folder / "troupe.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "licence": "CC0"}))
    info = registry.resolve("pirate")
    assert info is not None
    assert info.card.model_extra == {"licence": "CC0"}
