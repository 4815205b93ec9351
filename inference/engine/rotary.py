"""Rotary positions as one complex product.

transformers computes the angles, so every RoPE kind that it knows (llama3, linear, yarn, …) is
taken over as it stands. It rotates element i with element i + d/2; with the rows of the q and k
projections reordered so that such pairs are neighbours, the rotation is a product of complex
numbers in place. Attention only takes products of q with k, which the reordering leaves alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inference.types import InferenceError

# these kinds change the angles of all positions once a text outgrows the original length
_LENGTH_DEPENDENT = ("dynamic", "longrope")


def rotation_table(
    rotary: nn.Module, head_dim: int, positions: int, device: torch.device
) -> Tensor:
    """exp(i·angle) of every position, times the attention scaling: complex64 [positions, d/2]."""
    ids = torch.arange(positions, device=device)[None]
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32, device=device), ids)
    if cos.shape[-1] != head_dim:
        raise InferenceError(
            f"The model rotates {cos.shape[-1]} of {head_dim} dimensions of each head; partial"
            " rotary embeddings are not supported."
        )
    half = head_dim // 2
    return torch.complex(cos[0, :, :half].float(), sin[0, :, :half].float())


def longest_context(config: Any) -> int:
    """Tokens up to which the angles of a position do not depend on the length of the text."""
    positions = int(config.max_position_embeddings)
    parameters = getattr(config, "rope_parameters", None) or {}
    if parameters.get("rope_type") in _LENGTH_DEPENDENT:
        return int(parameters.get("original_max_position_embeddings", positions))
    return positions


def pair_rows(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder `rows` [heads · head_dim, …] so that the halves of a rotated pair are neighbours."""
    heads = rows.shape[0] // head_dim
    paired = rows.view(heads, 2, head_dim // 2, *rows.shape[1:]).transpose(1, 2)
    return paired.reshape(rows.shape)


def rotate_(x: Tensor, table: Tensor) -> None:
    """Rotate `x` [tokens, heads · head_dim] in place by `table` [tokens, 1, d/2]."""
    pairs = x.unflatten(-1, (-1, table.shape[-1], 2))
    if x.dtype == torch.float32:
        torch.view_as_complex(pairs).mul_(table)
    else:
        pairs.copy_(torch.view_as_real(torch.view_as_complex(pairs.float()).mul_(table)))
