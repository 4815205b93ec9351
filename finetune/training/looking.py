"""Examples as they would be taught, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config import Config, FinetuneSettings
from finetune.dataset import Encoded
from finetune.training.run import Order, load_and_cut, prepare_libraries, read


def encoded_examples(
    config: Config,
    settings: FinetuneSettings,
    *,
    channel: str | None,
    data_path: Path | None,
    base_model: str | None,
    seed: int,
) -> tuple[list[Encoded], Any]:
    """The encoded replies that `train` would learn from, and the tokenizer that reads them."""
    prepare_libraries()
    order = Order(channel=channel, data_path=data_path, base_model=base_model, seed=seed)
    data = read(config, settings, order)
    loaded, made = load_and_cut(config, settings, order, data)
    from finetune.training.material import material
    from finetune.training.trainer import encoder_for

    sft = settings.model_copy(update={"method": "sft"}) if settings.method == "kto" else settings
    return list(material(made, encoder_for(loaded, settings), sft, seed).replies), loaded.tokenizer
