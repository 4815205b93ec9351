"""Learning which of two replies is better, or which were liked: TRL's DPO and KTO.

Both get token ids that the serving prompt format made, and score labelled tokens only.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import DPOTrainer, KTOTrainer

from finetune.training.head import score_labels_only


class PairTrainer(DPOTrainer):  # type: ignore[misc]  # TRL has no types
    """DPO (Rafailov et al. 2023) on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        score_labels_only(self.model.get_base_model(), measured=True)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class VoteTrainer(KTOTrainer):  # type: ignore[misc]  # TRL has no types
    """KTO (Ethayarajh et al. 2024) on rows of `prompt_ids`, `completion_ids` and `label`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        score_labels_only(self.model.get_base_model(), measured=True)

    def _prepare_dataset(self, dataset: Dataset, _: Any, args: Any, *__: Any) -> Dataset:
        """Add the mismatched replies from which KTO estimates how far the model has moved."""
        return dataset.map(_rotate, batched=True, batch_size=args.per_device_train_batch_size)


def _rotate(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    replies = rows["completion_ids"]
    return {**rows, "KL_completion_ids": [replies[-1], *replies[:-1]]}
