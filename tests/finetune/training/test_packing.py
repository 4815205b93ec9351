"""Packed rows compute what each example would alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from finetune.dataset import IGNORE_INDEX, Encoded
from finetune.training.head import score_labels_only
from finetune.training.packing import collate, packed_attention, row_of
from inference.model_loading import LoadedModel


def encoded(*ids: int) -> Encoded:
    return Encoded(ids, (IGNORE_INDEX, *ids[1:]), replies=1)


EXAMPLES = (encoded(5, 6, 7, 8), encoded(9, 10), encoded(11, 12, 13))


def test_examples_do_not_see_one_another(load: Callable[[], LoadedModel]) -> None:
    model = load().model
    alone = [model(input_ids=torch.tensor([one.input_ids])).logits[0] for one in EXAMPLES]
    batch = collate([row_of(one) for one in EXAMPLES])
    given = {key: batch[key] for key in ("input_ids", "position_ids", "cu_seq_lens_q")}
    with packed_attention(model):
        together = model(**given, use_cache=False).logits[0]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_attention_is_given_back(load: Callable[[], LoadedModel]) -> None:
    model = load().model
    before = model.config._attn_implementation
    with packed_attention(model):
        assert model.config._attn_implementation != before
    assert model.config._attn_implementation == before


def test_rows_stand_end_to_end_without_padding() -> None:
    batch = collate([row_of(one) for one in EXAMPLES])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 13]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 4, 6, 9]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2]]


def test_no_example_is_predicted_from_the_one_before() -> None:
    learnt_whole = Encoded((5, 6), (5, 6), replies=1)
    batch = collate([row_of(learnt_whole), row_of(learnt_whole)])
    assert batch["labels"].tolist() == [[IGNORE_INDEX, 6, IGNORE_INDEX, 6]]


def test_the_head_scores_labels_as_the_model_does(load: Callable[[], LoadedModel]) -> None:
    model = load().model
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    labels = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 7, IGNORE_INDEX, 9]])
    logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    score_labels_only(model, measured=True)
    scored = model(input_ids=ids, labels=labels, fused_lm_head=True)
    wanted = torch.zeros(1, 4)
    wanted[0, 1], wanted[0, 3] = logits[1, 7], logits[3, 9]
    torch.testing.assert_close(scored.log_probs, wanted)
    entropy = -(logits.exp() * logits).sum(-1)
    assert scored.entropy[0].tolist() == pytest.approx([0, entropy[1].item(), 0, entropy[3].item()])
