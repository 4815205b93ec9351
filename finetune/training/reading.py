"""What `train` learns from: a channel, a file, or a folder that `prepare` made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config import Config, FinetuneSettings
from finetune.dataset import Encoder, Example
from finetune.errors import InputError
from finetune.preparing.channels import prepare_log, read_log
from finetune.preparing.pipeline import Tokens
from finetune.preparing.pseudonyms import Pseudonyms, pseudonym_key
from finetune.sources.alpaca import read_alpaca
from finetune.sources.formats import format_of, read_source
from finetune.sources.json_files import json_rows
from finetune.training_set import TrainingSet, read_training_set
from inference.types import ModelInfo

FEWEST_REPLIES = 5


@dataclass(frozen=True, slots=True)
class Data:
    """Data that were read but not yet cut to a model's tokens."""

    source: str  # as the adapter's card says it: no Discord id, no path
    name: str  # for the adapter, if none was given
    cut: Callable[[Encoder, ModelInfo], TrainingSet]


def read_channel(config: Config, settings: FinetuneSettings, key: str, seed: int) -> Data:
    """A channel's log, prepared as `finetune prepare` does."""
    log = read_log(config, [key])
    check_enough(f"The channel {log.keys[0]}", log.replies)

    def cut(encoder: Encoder, info: ModelInfo) -> TrainingSet:
        tokens = Tokens(encoder.count, info, settings)
        return prepare_log(config, log, tokens, seed=seed)

    pseudonyms = Pseudonyms(pseudonym_key(config.paths.data))
    return Data(pseudonyms.source(log.keys[0]), log.character_id, cut)


def read_path(settings: FinetuneSettings, path: Path) -> Data:
    """A prepared folder, or a file of Alpaca rows, OpenAI messages or ShareGPT conversations.

    Logs of real people have to be prepared first, which hides who they are.

    Raises `InputError` with the line or the row and key of what cannot be used.
    """
    if path.is_dir():
        made = read_training_set(path)
        if settings.method != "kto":
            check_enough(str(path), _taught(made.train))
        name = path.resolve().name
        return Data(name, name, lambda *_: made)
    first = next(iter(json_rows(path)), (0, None))[1]
    found = format_of(first)
    if found in ("discord", "sillytavern", "character_ai"):
        raise InputError(
            f"{path} is a log of people ({found}); clean it first: python -m finetune prepare"
            f" --data_path {path} --output_dir DIR."
        )
    if found in ("openai", "sharegpt"):
        dialogues = read_source(path, found)
        check_enough(str(path), sum(dialogue.replies for dialogue in dialogues))

        def cut(encoder: Encoder, info: ModelInfo) -> TrainingSet:
            windows = Tokens(encoder.count, info, settings).windows()
            examples = [one for dialogue in dialogues for one in windows.examples(dialogue)]
            return TrainingSet(train=tuple(examples), report={"too_long": windows.too_long})

        return Data(path.name, path.stem, cut)
    check_enough(str(path), len(read_alpaca(path)))

    def rows(_: Encoder, info: ModelInfo) -> TrainingSet:
        return TrainingSet(train=tuple(read_alpaca(path, info.prompt_format)))

    return Data(path.name, path.stem, rows)


def check_enough(what: str, replies: int) -> None:
    """Raise `InputError` if `what` has too few replies to learn anything from."""
    if replies < FEWEST_REPLIES:
        raise InputError(
            f"{what} holds only {replies} replies to learn from; it takes at least"
            f" {FEWEST_REPLIES}."
        )


def _taught(examples: tuple[Example, ...]) -> int:
    return sum(turn.taught for example in examples for turn in example.turns)
