"""Learning what replies say, and unlearning what they should not have said."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl import SFTTrainer

from finetune.dataset import IGNORE_INDEX
from finetune.training.head import score_labels_only

_NEVER_CERTAIN = 1 - 1e-6  # a token of probability 1 has no finite penalty


class ReplyTrainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's supervised trainer over packed rows, with unlikelihood for the unwanted ones."""

    def __init__(self, *args: Any, unlikelihood_weight: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unlikelihood_weight = unlikelihood_weight
        model = self.model
        score_labels_only(
            model.get_base_model() if hasattr(model, "get_base_model") else model, measured=False
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean over all labelled tokens of the step, taught and unwanted together."""
        given = {key: value for key, value in inputs.items() if key != "unwanted"}
        outputs = model(**given, use_cache=False, fused_lm_head=True)
        labels, unwanted = inputs["labels"][:, 1:], inputs["unwanted"][:, 1:]
        # A learnt prompt stands before the row and has no labels.
        log_probs = outputs.log_probs[:, -labels.shape[1] :]
        losses = token_losses(log_probs, unwanted, self._unlikelihood_weight)
        labelled = labels != IGNORE_INDEX
        tokens = labelled.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses[labelled].sum() / torch.as_tensor(tokens).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP takes the mean over processes
        return (loss, outputs) if return_outputs else loss


def token_losses(log_probs: Tensor, unwanted: Tensor, weight: float) -> Tensor:
    """−log p of the wanted tokens; of the unwanted −log(1 − p), times `weight`.

    Unlikelihood training of Welleck et al. 2019 (arXiv:1908.04319), for dialogue Li et al. 2020.
    """
    probability = log_probs.exp().clamp(max=_NEVER_CERTAIN)
    return torch.where(unwanted, -weight * torch.log1p(-probability), -log_probs)
