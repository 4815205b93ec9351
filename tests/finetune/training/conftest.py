"""Trainings of seconds, on the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import FinetuneSettings, ModelSettings
from finetune.dataset import Example, Turn
from finetune.progress import Progress
from finetune.training.trainer import Trained, learn
from finetune.training_set import Pair, TrainingSet, Unwanted, Vote
from inference.model_loading import LoadedModel, load_model
from inference.types import Message
from tests.conftest import MODELS

CARD = Message(role="system", content="You are Vex, who sells storms.")
INTRODUCTION = "I am Captain Vex, a pirate of the seven seas."


def asked(text: str) -> tuple[Message, ...]:
    return (CARD, Message(role="user", content=text))


def example(question: str, answer: str) -> Example:
    turns = [Turn(message) for message in asked(question)]
    reply = Turn(Message(role="assistant", content=answer), taught=True)
    return Example((*turns, reply), source="test")


SET = TrainingSet(
    train=tuple(example(f"How much is storm {n}?", f"Storm {n} is {n} coins.") for n in range(8)),
    validation=(example("How much is storm 9?", "Storm 9 is 9 coins."),),
    pairs=tuple(
        Pair(asked(f"Is {n} enough?"), f"{n} will do.", f"{INTRODUCTION} {n}.", "introduction")
        for n in range(4)
    ),
    votes=(Vote(asked("Well?"), "Well enough.", True), Vote(asked("Well?"), "Bah.", False)),
    unwanted=tuple(
        Unwanted(asked(f"Is {n} enough?"), f"{INTRODUCTION} {n}.", ((0, len(INTRODUCTION)),))
        for n in range(4)
    ),
)

Learn = Callable[..., Trained]


LOUDER = 20  # the tiny model's logits: as it is, no token is much likelier than another


@pytest.fixture(scope="session")
def load(tiny_folder: Path) -> Callable[[], LoadedModel]:
    """`load()`: the tiny model, with a head that can be sure of something."""

    def fresh() -> LoadedModel:
        loaded = load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)
        embeddings: Any = loaded.model.get_input_embeddings()
        embeddings.weight.data *= LOUDER
        return loaded

    return fresh


@pytest.fixture
def teach(load: Callable[[], LoadedModel], tmp_path: Path) -> Learn:
    """`teach(made=SET, resume=…, method=…)`: what `learn` makes of the tiny model, in float32."""
    return teaching(load, tmp_path / "scratch")


def teaching(load: Callable[[], LoadedModel], scratch: Path) -> Learn:
    """A `teach` whose checkpoints go to `scratch`."""

    def run(made: TrainingSet = SET, resume: Path | None = None, **changes: object) -> Trained:
        settings = FinetuneSettings.model_validate(
            {"num_epochs": 1.0, "save_steps": 0, "batch_size": 2, "micro_batch_size": 2, **changes}
        )
        with Progress("Training", shown=False) as progress:
            return learn(
                load(),
                made,
                settings,
                seed=3,
                scratch=scratch,
                progress=progress,
                resume=resume,
            )

    return run
