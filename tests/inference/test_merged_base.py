from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from config import ModelSettings
from inference.adapters import AdapterCard, AdapterError, AdapterInfo, AdapterRegistry, weights_hash
from inference.model_loading import LoadedModel, load_model
from inference.types import InferenceError
from tests.conftest import MODELS, MakeAdapter

_IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


def _settings(folder: Path, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"base": str(folder), "device": "cpu", **more})


def _publish_dora(folder: Path, loaded: LoadedModel, registry: AdapterRegistry) -> AdapterInfo:
    torch.manual_seed(3)
    fresh = load_model(_settings(folder), MODELS).model
    wrapped = get_peft_model(fresh, LoraConfig(r=4, use_dora=True, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    staging = registry.staging_folder("dora")
    wrapped.save_pretrained(staging)
    card = AdapterCard(
        base_model=loaded.info.name,
        base_fingerprint=loaded.info.fingerprint,
        prompt_format=loaded.info.prompt_format,
        weights_hash=weights_hash(staging),
    )
    (staging / "troupe.json").write_text(card.model_dump_json())
    return registry.publish(staging, "dora")


def test_what_cannot_share_a_batch_serves_merged(
    tiny: LoadedModel, tiny_folder: Path, registry: AdapterRegistry, make_adapter: MakeAdapter
) -> None:
    dora = _publish_dora(tiny_folder, tiny, registry)
    other = make_adapter(tiny, registry, "other")
    settings = _settings(tiny_folder, merge_adapter="dora")
    merged = load_model(settings, MODELS, adapters=registry)
    base = load_model(_settings(tiny_folder), MODELS).model
    plain = base(_IDS).logits
    expected = PeftModel.from_pretrained(base, str(dora.folder)).eval()(_IDS).logits
    torch.testing.assert_close(merged.model(_IDS).logits, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert "with dora@1 merged" in merged.info.summary
    with pytest.raises(AdapterError, match="made for another base"):
        registry.resolve(other.label, merged.info.fingerprint)


def test_an_adapter_that_changes_nothing_is_refused(
    tiny: LoadedModel, tiny_folder: Path, registry: AdapterRegistry, make_adapter: MakeAdapter
) -> None:
    make_adapter(tiny, registry, "empty", scale=0.0)
    with pytest.raises(AdapterError, match="changed nothing"):
        load_model(_settings(tiny_folder, merge_adapter="empty"), MODELS, adapters=registry)


def test_settings_that_make_no_sense_are_named(
    tiny_folder: Path, registry: AdapterRegistry
) -> None:
    for name, sentence in (("base", "without adapter"), ("nobody", "There is no adapter")):
        with pytest.raises(AdapterError, match=sentence):
            load_model(_settings(tiny_folder, merge_adapter=name), MODELS, adapters=registry)
    settings = _settings(tiny_folder, merge_adapter="x", quantization="4bit")
    with pytest.raises(InferenceError, match="not quantised"):
        load_model(settings, MODELS, adapters=registry)
