from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from config import ModelSettings
from finetune.dataset import IGNORE_INDEX, Encoder
from finetune.errors import InputError
from finetune.evaluation.perplexity import HELD_OUT, perplexities, read_held_out
from inference.adapters import AdapterError, AdapterRegistry
from inference.model_loading import load_model
from tests.conftest import MODELS, MakeAdapter, MakeConfig
from tests.finetune.evaluation.samples import write

CHATS = [
    {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]}
    for said, reply in (("Rum?", "Two coins."), ("Tea?", "Not on this ship, friend, not ever."))
]


def test_the_shipped_dialogues_can_be_read() -> None:
    assert len(read_held_out(HELD_OUT)) >= 10


def test_perplexity_is_that_of_the_assistants_tokens(
    make_config: MakeConfig, tiny_folder: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    settings = ModelSettings(base=str(tiny_folder), device="cpu")
    config = make_config(model=settings)
    loaded = load_model(settings, MODELS)
    make_adapter(loaded, AdapterRegistry(config.adapters_dir), "pirate", scale=2.0)
    examples = read_held_out(write(tmp_path / "held_out.jsonl", *CHATS))

    found = perplexities(config, ["base", "pirate@1", "default"], examples)

    encoder = Encoder(loaded.prompt_format, loaded.end_ids, 2048)
    losses, tokens = 0.0, 0
    for encoded in encoder.encode_all(examples):  # one by one, without padding
        labels = torch.tensor([encoded.labels])
        ids = torch.tensor([encoded.input_ids])
        with torch.no_grad():
            loss = loaded.model(input_ids=ids, labels=labels).loss
        count = int((labels != IGNORE_INDEX).sum())
        losses, tokens = losses + float(loss) * count, tokens + count
    base = found["base"]
    assert base.value == pytest.approx(math.exp(losses / tokens), rel=1e-4)
    assert base.n == 2
    assert base.low is not None
    assert base.high is not None
    assert base.low <= base.value <= base.high  # type: ignore[operator]
    assert found["default"] == base  # after an adapter, the base is as it was
    assert found["pirate@1"].value != pytest.approx(base.value, rel=1e-3)
    with pytest.raises(AdapterError, match="'nobody'"):
        perplexities(config, ["nobody"], examples)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "line 1: messages is missing"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "a"}]}, "no assistant message"),
    ],
)
def test_a_mistake_names_line_and_key(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_held_out(write(tmp_path / "held_out.jsonl", row))
