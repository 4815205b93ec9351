"""What is held out of the material to measure the loss on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config import FinetuneSettings
from finetune.dataset import Encoded, Encoder, Example
from finetune.training.material import material
from finetune.training_set import TrainingSet
from inference.model_loading import LoadedModel
from tests.finetune.training.conftest import example


@pytest.mark.parametrize("seed", range(6))
def test_whole_sources_are_held_out_as_far_as_they_fit(embedded: LoadedModel, seed: int) -> None:
    encoder = Encoder(embedded.prompt_format, embedded.end_ids, 320)
    sizes = {"long": 6, "tea": 2, "fog": 2}
    examples = [
        replace(example(f"{source} {n}?", f"{source} {n}."), source=source)
        for n in range(max(sizes.values()))
        for source in sizes
        if n < sizes[source]
    ]
    asked = {encoder.encode(one)[0]: one for one in examples}

    def held(size: int) -> list[str]:
        settings = FinetuneSettings(val_set_size=size)
        made = material(TrainingSet(tuple(examples)), encoder, settings, seed)
        assert len(made.replies) + len(made.validation) == len(examples)
        return sorted(_question(asked, one) for one in made.validation)

    assert held(2) in (["tea 0?", "tea 1?"], ["fog 0?", "fog 1?"])
    assert held(4) == ["fog 0?", "fog 1?", "tea 0?", "tea 1?"]
    # What fits nowhere whole is the end of a dialogue, so that there is only one border.
    assert held(5) == ["fog 0?", "fog 1?", "long 5?", "tea 0?", "tea 1?"]
    assert held(1) in (["tea 1?"], ["fog 1?"], ["long 5?"])


def _question(asked: dict[Encoded, Example], one: Encoded) -> str:
    return asked[one].turns[1].message.content
