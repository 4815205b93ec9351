"""What a layer does between its large products, with torch's operators.

`CompiledOperators` does the same for CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from inference.engine.kv_cache import KvCache
from inference.engine.rotary import rotate_


@dataclass(frozen=True, slots=True)
class Shape:
    """What the operators need to know of a model."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    scale: float  # of attention
    activation: str  # transformers' name of it
    dtype: torch.dtype

    @classmethod
    def of(cls, model: Any, dtype: torch.dtype) -> Shape:
        config = model.config
        heads = int(config.num_attention_heads)
        return cls(
            heads=heads,
            kv_heads=int(config.num_key_value_heads),
            head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            eps=float(config.rms_norm_eps),
            scale=float(model.model.layers[0].self_attn.scaling),
            activation=str(config.hidden_act),
            dtype=dtype,
        )

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim


def are_compiled(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are compiled forms, which are faster."""
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16)


class Operators(Protocol):
    needs_masks: bool  # whether decoding rows are told by a mask which positions are theirs

    def add_norm(self, x: Tensor, added: Tensor | None, weight: Tensor) -> Tensor:
        """Add `added` to `x` [tokens, hidden] in place; `x` in RMS norm, in the working type."""
        ...

    def rotate_and_keep(
        self, qkv: Tensor, rotation: Tensor, kv: KvCache, layer: int, slots: Tensor
    ) -> None:
        """Rotate queries and keys in place, and write keys and values at `slots`.

        qkv: [tokens, (heads + 2 · kv_heads) · head_dim]
        """
        ...

    def attend_rows(
        self, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Attention of one token of each row; [rows, heads · head_dim].

        query: [rows, heads · head_dim]
        keys, values: [rows, kv_heads, window, head_dim]
        positions: [rows]
        mask: [rows, 1, 1, window], where `needs_masks`
        """
        ...

    def gate(self, gate_up: Tensor) -> Tensor:
        """activation(gate) · up, of both side by side: [tokens, width]."""
        ...


class TorchOperators:
    needs_masks = True

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._activation = ACT2FN[shape.activation]

    def add_norm(self, x: Tensor, added: Tensor | None, weight: Tensor) -> Tensor:
        if added is not None:
            x += added
        # converted once: the projection and the adapters both read it
        return F.rms_norm(x, weight.shape, weight, self._shape.eps).to(self._shape.dtype)

    def rotate_and_keep(
        self, qkv: Tensor, rotation: Tensor, kv: KvCache, layer: int, slots: Tensor
    ) -> None:
        width = self._shape.query_width
        rotate_(qkv[:, : width + self._shape.kv_heads * self._shape.head_dim], rotation)
        kv.put(layer, slots, qkv[:, width:])

    def attend_rows(
        self, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, mask: Tensor | None
    ) -> Tensor:
        rows = len(query)
        # heads that share keys are queued as positions: each key is read once, on every backend
        grouped = query.reshape(rows, self._shape.kv_heads, -1, self._shape.head_dim)
        out = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=mask, scale=self._shape.scale
        )
        return out.reshape(rows, -1)

    def gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        product: Tensor = self._activation(gate) * up
        return product


def operators_for(shape: Shape, device: torch.device) -> Operators:
    """The fastest there are."""
    if are_compiled(device, shape.dtype):
        from inference.engine.compiled_operators import CompiledOperators

        return CompiledOperators(shape)
    return TorchOperators(shape)
