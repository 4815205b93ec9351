"""The heavy parts of a run, each loaded when it is first needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Config, FinetuneSettings
from inference.base_model import find_base_model

if TYPE_CHECKING:
    from finetune.dataset import Example
    from finetune.evaluation.figures import Figure
    from finetune.evaluation.suite import ScriptedUser
    from finetune.preparing.pipeline import Tokens
    from finetune.retraining.rounds import Round

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a training is given: a prepared `training_set`, and where its files go.

    `start_from` is the label of an adapter whose weights it begins with; None: fresh ones.
    `folder` keeps the checkpoints meanwhile, and a training goes on from those it finds there.
    """

    training_set: Path
    folder: Path
    name: str
    note: str
    seed: int
    start_from: str | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """How a run does what takes a model.

    `fingerprint` is that of the model in use. `train` leaves a finished adapter in the lesson's
    folder. `play` plays the rounds and leaves the file of each. `perplexities` is by adapter,
    of dialogues or, for None, of the shipped held-out ones. `share` surrounds what needs the
    devices.
    """

    fingerprint: Callable[[Config, Say], str]
    tokens: Callable[[Config, FinetuneSettings], Tokens]
    train: Callable[[Config, FinetuneSettings, Lesson], None]
    play: Callable[[Config, Sequence[ScriptedUser], Sequence[Round]], None]
    perplexities: Callable[
        [Config, Sequence[str], Sequence[Example] | None, int], dict[str, Figure]
    ]
    share: Callable[[Config, Say], AbstractContextManager[Any]]


def configured() -> Means:
    """Training, playing and measuring on the configured model."""
    return Means(_fingerprint, _tokens, _train, _play, _perplexities, _share)


def _fingerprint(config: Config, say: Say) -> str:
    source = find_base_model(config.model.base, config.models_dir, say)
    if not config.model.merge_adapter:
        return source.fingerprint
    from inference.adapters import AdapterRegistry
    from inference.merged_base import find_adapter, merged_fingerprint

    registry = AdapterRegistry(config.adapters_dir)
    merged = find_adapter(config.model.merge_adapter, registry, source.fingerprint)
    return merged_fingerprint(source.fingerprint, merged)


def _tokens(config: Config, settings: FinetuneSettings) -> Tokens:
    from finetune.preparing.tokenizing import configured_tokens

    return configured_tokens(config, settings)


def _train(config: Config, settings: FinetuneSettings, lesson: Lesson) -> None:
    from finetune.training.run import AUTO, Order, run

    start: dict[str, Any] = {} if lesson.start_from is None else {"start_from": lesson.start_from}
    order = Order(
        data_path=lesson.training_set,
        name=lesson.name,
        note=lesson.note,
        seed=lesson.seed,
        output_dir=lesson.folder,
        resume=AUTO,
        **start,
    )
    with _memory_freed():
        run(config, settings, order)


def _play(config: Config, suite: Sequence[ScriptedUser], rounds: Sequence[Round]) -> None:
    from finetune.retraining.rounds import play_rounds

    play_rounds(config, suite, rounds)


def _perplexities(
    config: Config, adapters: Sequence[str], examples: Sequence[Example] | None, seed: int
) -> dict[str, Figure]:
    from finetune.evaluation.perplexity import HELD_OUT, perplexities, read_held_out

    if examples is None:
        examples = read_held_out(HELD_OUT)
    with _memory_freed():
        return perplexities(config, adapters, examples, seed=seed)


def _share(config: Config, say: Say) -> AbstractContextManager[Any]:
    from finetune.retraining.sharing import shared_device

    return shared_device(config, say)


@contextmanager
def _memory_freed() -> Iterator[None]:
    """What was loaded inside is out of the devices' memory afterwards; trainers hold cycles."""
    try:
        yield
    finally:
        from finetune.retraining.sharing import release_memory

        gc.collect()
        release_memory()
