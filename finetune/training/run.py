"""One training from start to end: read, load, learn, publish."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config import Config, FinetuneSettings
from finetune.dataset import Encoder, Example, data_hash
from finetune.errors import InputError
from finetune.progress import Progress
from finetune.publishing import adapter_name, discard_abandoned, publish, save_weights, staged
from finetune.sources.alpaca import read_alpaca
from finetune.sources.channel_log import ChannelLog, Windows, read_channel
from inference.adapters import AdapterInfo, AdapterRegistry, check_name
from inference.types import ModelInfo
from persona_prompts.cast import SHIPPED, Cast

FEWEST_REPLIES = 5

_LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "torch")


@dataclass(frozen=True, slots=True)
class Order:
    """What to learn from, and how the result is called; one of `channel` and `data_path` is set."""

    channel: str | None = None
    data_path: Path | None = None
    name: str | None = None
    note: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Source:
    """Data that were read but not yet cut to a model's tokens."""

    what: str  # as the subject of a sentence
    key: str  # the channel's key or the file
    replies: int
    name: str  # for the adapter, if none was given
    examples: Callable[[Encoder, ModelInfo], list[Example]]


def run(config: Config, settings: FinetuneSettings, order: Order) -> AdapterInfo:
    """Train and publish what `order` says.

    Nothing is seen of the new version before it is complete. Raises `InputError` and the errors of
    the rooms below for what can be known before the training, `TrainingError` afterwards.
    """
    if order.name is not None:
        check_name(order.name)
    source = _read(config, settings, order)
    if source.replies < FEWEST_REPLIES:
        raise InputError(
            f"{source.what} holds only {source.replies} replies to learn from; it takes at least"
            f" {FEWEST_REPLIES}."
        )
    name = order.name or adapter_name(source.name)
    check_name(name)
    discard_abandoned(config.adapters_dir)
    _prepare_libraries()
    return _learn(config, settings, order, source, name)


def _read(config: Config, settings: FinetuneSettings, order: Order) -> _Source:
    if order.data_path is not None:
        rows = read_alpaca(order.data_path)
        file = order.data_path
        return _Source(str(file), str(file), len(rows), file.stem, lambda *_: rows)
    assert order.channel is not None
    cast = Cast(SHIPPED, config.paths.personas)
    log = asyncio.run(read_channel(config, cast, order.channel))

    def examples(encoder: Encoder, info: ModelInfo) -> list[Example]:
        return _windows(log, settings, encoder, info)

    return _Source(f"The channel {log.key}", log.key, log.replies, log.character_id, examples)


def _windows(
    log: ChannelLog, settings: FinetuneSettings, encoder: Encoder, info: ModelInfo
) -> list[Example]:
    windows = Windows(encoder.count, info, settings)
    found = [example for dialogue in log.dialogues for example in windows.examples(dialogue)]
    if windows.too_long:
        sentence = (
            f"{windows.too_long} of {log.replies} replies do not fit into cutoff_len ="
            f" {settings.cutoff_len} beside their character's card"
        )
        if not found:
            raise InputError(f"{sentence}; raise it.")
        print(f"{sentence}; they are left out.", file=sys.stderr)
    return found


def _learn(
    config: Config, settings: FinetuneSettings, order: Order, source: _Source, name: str
) -> AdapterInfo:
    from finetune.training.trainer import check_settings, train, use_one_gpu
    from inference.model_loading import load_model

    model = config.model.model_copy(update={"device": use_one_gpu(config.model.device)})
    registry = AdapterRegistry(config.adapters_dir)
    loaded = load_model(model, config.models_dir, adapters=registry, on_progress=_say)
    check_settings(settings, loaded)
    encoder = Encoder(loaded.prompt_format, loaded.end_ids, settings.cutoff_len)
    examples = source.examples(encoder, loaded.info)
    encoded = encoder.encode_all(examples)
    if not encoded:
        raise InputError(
            f"Nothing of {source.key} is left within cutoff_len = {settings.cutoff_len}; raise it."
        )
    with staged(registry, name) as folder, Progress(f"Training {name}") as progress:
        scratch = folder / ".trainer"
        trained = train(
            loaded, encoded, settings, seed=order.seed, scratch=scratch, progress=progress
        )
        if scratch.is_dir():
            scratch.rmdir()
        save_weights(trained.model, folder)
        return publish(
            registry,
            name,
            folder,
            loaded.info,
            data_hash=data_hash(examples),
            note=order.note,
            training={
                "method": "sft",
                "source": source.key,
                "seed": order.seed,
                **settings.model_dump(),
            },
            figures=trained.figures,
        )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _prepare_libraries() -> None:
    """Before torch is loaded: nothing on the terminal that a user cannot act on."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait by spinning make a machine with other work on it many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.simplefilter("ignore")
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
