"""The trainers that one training is made of, one after another: TRL's, each over its part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, KTOConfig, SFTConfig

from config import FinetuneSettings
from finetune.training.arguments import common
from finetune.training.material import Material, pair_rows, vote_rows
from finetune.training.packing import collate, row_of
from finetune.training.preference import PairTrainer, VoteTrainer
from finetune.training.replies import ReplyTrainer
from finetune.training.world import check_batch, world_size
from inference.model_loading import LoadedModel

_KTO_LEAST = 2  # replies at once: KTO compares each with another's


@dataclass(frozen=True, slots=True)
class Phase:
    """One of TRL's trainers over one part of the material."""

    name: str  # of its folder; phases follow one another in alphabetical order
    title: str
    examples: int
    tokens: int
    build: Callable[[Any, Path], Any]  # (model, folder) → trainer
    packed: bool


@dataclass(frozen=True, slots=True)
class Course:
    """What all phases of a training share."""

    loaded: LoadedModel
    made: Material
    settings: FinetuneSettings
    seed: int
    callbacks: tuple[Any, ...]  # transformers.TrainerCallback

    def phases(self) -> list[Phase]:
        """One for each part of the material that is there, in their order.

        Raises `InputError` if KTO's batches cannot be shared out among the processes.
        """
        parts = (
            (self.made.replies, self._replies),
            (self.made.pairs, self._pairs),
            (self.made.votes, self._votes),
        )
        return [phase() for part, phase in parts if part]

    def _replies(self) -> Phase:
        made, settings = self.made, self.settings
        # PEFT puts the learnt prompt before a row, so a row must be one example.
        prompt = settings.method == "prompt_tuning"
        chosen = settings.model_copy(update={"micro_batch_size": 1}) if prompt else settings

        def build(model: Any, folder: Path) -> ReplyTrainer:
            return ReplyTrainer(
                args=SFTConfig(
                    **common(self.loaded, chosen, len(made.replies), self.seed, folder),
                    learning_rate=settings.learning_rate,
                    max_length=None,
                    dataset_kwargs={"skip_prepare_dataset": True},
                    eval_strategy="epoch" if made.validation else "no",
                    prediction_loss_only=True,
                    train_sampling_strategy=(
                        "group_by_length" if settings.group_by_length else "random"
                    ),
                ),
                train_dataset=Dataset.from_list([row_of(one) for one in made.replies]),
                eval_dataset=(
                    Dataset.from_list([row_of(one) for one in made.validation])
                    if made.validation
                    else None
                ),
                data_collator=collate_prompted if prompt else collate,
                unlikelihood_weight=settings.unlikelihood_weight,
                **self._given(model),
            )

        tokens = sum(len(one.input_ids) for one in made.replies)
        return Phase("1-replies", "replies", len(made.replies), tokens, build, packed=not prompt)

    def _pairs(self) -> Phase:
        pairs, settings = self.made.pairs, self.settings

        def build(model: Any, folder: Path) -> PairTrainer:
            return PairTrainer(
                args=DPOConfig(
                    **common(self.loaded, settings, len(pairs), self.seed, folder),
                    learning_rate=settings.preference_learning_rate,
                    max_length=None,
                    beta=settings.dpo_beta,
                    loss_type=["sigmoid", "sft"],
                    loss_weights=[1.0, settings.dpo_sft_weight],
                ),
                train_dataset=Dataset.from_list(pair_rows(pairs)),
                **self._given(model),
            )

        tokens = sum(len(side.prompt_ids) + len(side.reply_ids) for pair in pairs for side in pair)
        return Phase("2-pairs", "pairs", len(pairs), tokens, build, packed=False)

    def _votes(self) -> Phase:
        votes, settings = self.made.votes, self.settings
        micro = max(settings.micro_batch_size, _KTO_LEAST)
        batch = max(1, settings.batch_size // micro) * micro
        chosen = settings.model_copy(update={"micro_batch_size": micro, "batch_size": batch})
        if world_size() > 1:  # with the batch_size that was given
            check_batch(settings.model_copy(update={"micro_batch_size": micro}))

        def build(model: Any, folder: Path) -> VoteTrainer:
            return VoteTrainer(
                args=KTOConfig(
                    **common(self.loaded, chosen, len(votes), self.seed, folder),
                    learning_rate=settings.preference_learning_rate,
                    max_length=None,
                    beta=settings.dpo_beta,
                ),
                train_dataset=Dataset.from_list(vote_rows(votes, self.seed)),
                **self._given(model),
            )

        tokens = sum(len(reply.prompt_ids) + len(reply.reply_ids) for reply, _ in votes)
        return Phase("1-votes", "votes", len(votes), tokens, build, packed=False)

    def _given(self, model: Any) -> dict[str, Any]:
        return {
            "model": model,
            "processing_class": self.loaded.tokenizer,
            "callbacks": list(self.callbacks),
        }


def collate_prompted(rows: Any) -> dict[str, torch.Tensor]:
    """One example, without the places that PEFT counts itself behind its learnt prompt."""
    row = collate(rows)
    return {key: row[key] for key in ("input_ids", "labels", "unwanted")}
