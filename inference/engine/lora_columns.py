"""Many adapters side by side in stacked matrices, so that one batch serves them all.

The A matrices of all adapters in the batch stand above each other, the B matrices likewise; an
adapter of rank r owns r neighbouring columns of the product between them, so that a rank-8 adapter
costs 8 columns, not as many as the largest. On a GPU x·Aᵀ is computed for all columns, those that
are not a token's own are set to zero, and the product with B adds exactly that token's adapter
(masked concat). On a CPU each token reads its own columns only (gathered, as in S-LoRA and Punica),
in one compiled call instead of many small products.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inference.engine import operators
from inference.engine.adapter_weights import AdapterWeights, Group

# neighbouring tokens of one adapter, as in a prompt, times its rank, from which GEMMs are faster
_WORTH_A_BLOCK = 2000


class _Block(NamedTuple):
    """Neighbouring tokens that own the same columns."""

    tokens: slice
    columns: slice


class Gathered(NamedTuple):
    """The columns that each token owns, for the CPU; long runs of the same ones as blocks."""

    owned: Any  # int64 [tokens, 2]; nothing for those in blocks
    blocks: tuple[_Block, ...]
    outside: bool  # whether anything is owned outside blocks


class _Addresses(NamedTuple):
    """Where the compiled sum finds one group of one layer."""

    down: int
    ups: Any  # int64 [parts]


class LoraColumns:
    """`capacity` columns for every group of projections of every layer."""

    def __init__(
        self,
        groups: tuple[Group, ...],
        layers: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.groups = groups
        self.layers = layers
        self.capacity = capacity
        self.dtype = dtype
        self.device = device
        self._down = {
            g.name: torch.zeros(
                layers, capacity, len(g.modules), g.width, dtype=dtype, device=device
            )
            for g in groups
        }
        self._up = {
            g.name: [
                torch.zeros(layers, capacity, width, dtype=dtype, device=device)
                for width in g.outputs
            ]
            for g in groups
        }
        self._gathers = operators.are_compiled(device, dtype)
        if self._gathers:
            from inference.engine.cpu_kernels import kernels  # which GPUs have no use for

            self._kernels = kernels(dtype)
            self._outputs = {g.name: np.array(g.outputs) for g in groups}
            self._addresses = {g.name: self._find(g.name) for g in groups}

    @classmethod
    def for_model(
        cls, config: Any, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> LoraColumns:
        hidden, mlp = int(config.hidden_size), int(config.intermediate_size)
        q_width = int(config.num_attention_heads) * head_dim
        kv_width = int(config.num_key_value_heads) * head_dim
        qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        groups = (
            Group("qkv", qkv, hidden, (q_width, kv_width, kv_width), paired=2),
            Group("output", ("self_attn.o_proj",), q_width, (hidden,), paired=0),
            Group("gate_up", ("mlp.gate_proj", "mlp.up_proj"), hidden, (mlp, mlp), paired=0),
            Group("down", ("mlp.down_proj",), mlp, (hidden,), paired=0),
        )
        return cls(groups, int(config.num_hidden_layers), capacity, dtype, device)

    def write(self, adapter: AdapterWeights, start: int) -> None:
        """Copy an adapter into columns start … start + rank - 1."""
        end = start + adapter.rank
        for name, weights in adapter.groups.items():
            self._down[name][:, start:end].copy_(weights.down)
            for stack, up in zip(self._up[name], weights.up, strict=True):
                stack[:, start:end].copy_(up)

    def ownership(self, owned: Tensor | None, columns: int) -> Tensor | Gathered | None:
        """`owned` [tokens, 2] as `add` wants it, made once for all layers of a pass.

        A token owns the columns from the first number up to the second, none of which lies behind
        the first `columns`; None: all tokens belong to the base model.
        """
        if owned is None:
            return None
        if self._gathers:
            return _gathered(owned)
        index = torch.arange(columns, device=owned.device)
        return (index < owned[:, :1]) | (index >= owned[:, 1:])

    def add(
        self, group: str, layer: int, x: Tensor, out: Tensor, own: Tensor | Gathered | None
    ) -> Tensor:
        """`out` [tokens, outputs] plus what each token's own adapter makes of `x` [tokens, width].

        `own` is from `ownership`.
        """
        if own is None:
            return out
        if isinstance(own, Gathered):
            return self._add_gathered(group, layer, x.to(self.dtype), out.to(self.dtype), own)
        columns = own.shape[1]
        stacked = self._down[group][layer, :columns].flatten(0, 1)
        inner = F.linear(x.to(self.dtype), stacked).unflatten(1, (columns, -1))
        # not multiplied: an overflow in one row's adapter must not reach others as NaN
        inner = inner.masked_fill_(own[:, :, None], 0).permute(2, 0, 1).contiguous()
        offset = 0
        for part, ups in zip(inner, self._up[group], strict=True):
            width = ups.shape[-1]
            out[:, offset : offset + width].addmm_(part, ups[layer, :columns])
            offset += width
        return out

    def _add_gathered(
        self, group: str, layer: int, x: Tensor, out: Tensor, own: Gathered
    ) -> Tensor:
        x, out = x.contiguous(), out.contiguous()
        if own.outside:
            at, outputs = self._addresses[group][layer], self._outputs[group]
            self._kernels.add_adapters(
                self._kernels.kind, x.data_ptr(), out.data_ptr(), x.shape[1], own.owned, at.down,
                at.ups, outputs,
            )  # fmt: skip
        for tokens, columns in own.blocks:
            self._add_block(group, layer, x[tokens], out[tokens], columns)
        return out

    def _add_block(self, group: str, layer: int, x: Tensor, out: Tensor, columns: slice) -> None:
        """Add to `out`, whose tokens own the same columns."""
        down = self._down[group][layer, columns].transpose(0, 1)
        inner = F.linear(x, down.flatten(0, 1)).unflatten(1, (-1, down.shape[1]))
        offset = 0
        for part, ups in zip(inner.unbind(1), self._up[group], strict=True):
            width = ups.shape[-1]
            out[:, offset : offset + width].addmm_(part, ups[layer, columns])
            offset += width

    def _find(self, group: str) -> list[_Addresses]:
        down, ups = self._down[group], self._up[group]
        return [
            _Addresses(down[layer].data_ptr(), np.array([up[layer].data_ptr() for up in ups]))
            for layer in range(self.layers)
        ]


def owned_columns(ranges: list[range | None], device: torch.device) -> Tensor | None:
    """Of tokens that own the given columns, [tokens, 2]; None if none owns any."""
    if not any(ranges):
        return None
    return torch.tensor([(r.start, r.stop) if r else (0, 0) for r in ranges], device=device)


def _gathered(owned: Tensor) -> Gathered:
    bounds = owned.numpy()
    blocks: list[_Block] = []
    changes = np.flatnonzero((bounds[1:] != bounds[:-1]).any(axis=1)) + 1
    for start, end in pairwise([0, *changes.tolist(), len(bounds)]):
        first, last = bounds[start].tolist()
        if (end - start) * (last - first) >= _WORTH_A_BLOCK:
            blocks.append(_Block(slice(start, end), slice(first, last)))
    if blocks:
        bounds = bounds.copy()
        for block in blocks:
            bounds[block.tokens] = 0
    return Gathered(bounds, tuple(blocks), bool(bounds.any()))
