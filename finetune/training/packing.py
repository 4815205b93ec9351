"""Examples end to end in one row, without padding, each attending to itself alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from finetune.dataset import IGNORE_INDEX, Encoded

_PACKED = "troupe_packed"


def row_of(encoded: Encoded) -> dict[str, Any]:
    """The example as a row of the trainer's data set."""
    return {
        "input_ids": list(encoded.input_ids),
        "labels": list(encoded.labels),
        "unwanted": encoded.unwanted,
    }


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Rows one behind the other: tensors of shape [1, tokens], and where each row begins and ends.

    `cu_seq_lens_q` has one entry more than there are rows, as FlashAttention's variable-length
    kernels take it. No row's first token is predicted from the row before it.
    """
    sizes = [len(row["input_ids"]) for row in rows]
    labels = [[IGNORE_INDEX, *row["labels"][1:]] for row in rows]
    unwanted = [[row["unwanted"]] * size for row, size in zip(rows, sizes, strict=True)]
    ends = torch.tensor([0, *sizes]).cumsum(0)
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([[label for row in labels for label in row]]),
        "unwanted": torch.tensor([[mark for row in unwanted for mark in row]]),
        "position_ids": torch.cat([torch.arange(size) for size in sizes])[None],
        "cu_seq_lens_q": ends.to(torch.int32),
    }


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """While it is open, `model` (of transformers) attends as `collate` lays examples out."""
    before = model.config._attn_implementation
    AttentionInterface.register(_PACKED, _attend)
    model.set_attn_implementation(_PACKED)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each example: [1, heads, tokens, width] → [1, tokens, heads, width].

    One kernel call an example computes no more than its own triangle, and needs no mask of
    tokens × tokens.
    """
    ends = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            is_causal=True,
            scale=scaling,
            dropout_p=dropout,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for start, end in itertools.pairwise(ends)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
