"""Many adapters side by side in stacked matrices, so that one GEMM serves every row.

The A matrices of all adapters in the batch stand above each other, the B matrices likewise; an
adapter of rank r owns r neighbouring columns of the product between them. x·Aᵀ is computed for all
columns, the columns that are not a row's own are set to zero, and the product with B adds exactly
that row's adapter (masked concat; S-LoRA and Punica gather instead, which measured slower here).
Columns instead of slots of the largest rank: a rank-8 adapter costs 8 columns, not 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.engine.adapter_weights import AdapterWeights, Group
from inference.engine.linears import Linear, make_linear

_LAYERS_PACKED_A_STEP = 8
# up to these, what a call of oneDNN costs by itself outweighs that it reads half as much
_FEW_TOKENS = 4
_FEW_COLUMNS = 16


@dataclass(frozen=True, slots=True)
class Masks:
    """Which columns are not a token's own."""

    foreign: Tensor  # [tokens, columns]
    repeated: dict[int, Tensor]  # by projections in a group: [tokens, projections · columns]


class _Plain(NamedTuple):
    """A and each projection's B in float32, for torch's own small products."""

    down: Tensor  # [projections · columns, width]
    ups: tuple[Tensor, ...]  # [columns, output]

    def add(self, x: Tensor, out: Tensor, foreign: Tensor) -> Tensor:
        inner = F.linear(x.float(), self.down).masked_fill_(foreign, 0)
        offset = column = 0
        for up in self.ups:
            columns, width = up.shape
            part = inner[:, column : column + columns]
            out[:, offset : offset + width].add_(torch.mm(part, up))
            offset, column = offset + width, column + columns
        return out


class _Packed(NamedTuple):
    """A and B of one group in oneDNN's layout; B with one block for each projection."""

    parts: int
    down: Linear
    up: Linear
    plain: _Plain | None  # where there are few columns


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
        self._width = 0  # columns that the packed layers have
        self._packed: list[dict[str, _Packed] | None] = [None] * layers
        self._parts = {len(g.modules) for g in groups}
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
        self._packed = [None] * self.layers

    def prepare(self, used: int) -> int:
        """How many columns the next step computes so that the first `used` are among them.

        On a CPU this also packs some layers that have changed; the rest follow in later steps, so
        that a new adapter never holds up the batch for long.
        """
        if self.device.type != "cpu" or not used:
            return used
        # a little too wide is cheaper than packing again whenever an adapter pauses
        if not used <= self._width < 2 * used:
            self._width = used
            self._packed = [None] * self.layers
        stale = [layer for layer, packed in enumerate(self._packed) if packed is None]
        for layer in stale[:_LAYERS_PACKED_A_STEP]:
            self._packed[layer] = {g.name: self._pack(g, layer) for g in self.groups}
        return self._width

    def masks(self, foreign: Tensor | None) -> Masks | None:
        """`foreign` [tokens, columns] as `add` wants it; made once for all layers of a pass."""
        if foreign is None:
            return None
        return Masks(foreign, {n: foreign.repeat(1, n) for n in self._parts})

    def add(self, group: str, layer: int, x: Tensor, out: Tensor, masks: Masks | None) -> Tensor:
        """`out` [tokens, outputs] plus what each token's own adapter makes of `x` [tokens, width].

        `masks` None: all tokens belong to the base model.
        """
        if masks is None:
            return out
        # filled, not multiplied: an overflow in one row's adapter must not reach others as NaN
        foreign = masks.foreign
        columns = foreign.shape[1]
        packed = self._packed[layer]
        if packed is not None and columns == self._width:
            own = packed[group]
            if own.plain is not None and len(x) <= _FEW_TOKENS:
                return own.plain.add(x, out, masks.repeated[own.parts])
            inner = own.down(x).masked_fill_(masks.repeated[own.parts], 0)
            return out.add_(own.up(inner))
        stacked = self._down[group][layer, :columns].flatten(0, 1)
        inner = F.linear(x.to(self.dtype), stacked).unflatten(1, (columns, -1))
        inner = inner.masked_fill_(foreign[:, :, None], 0).permute(2, 0, 1).contiguous()
        offset = 0
        for part, ups in zip(inner, self._up[group], strict=True):
            width = ups.shape[-1]
            out[:, offset : offset + width].addmm_(part, ups[layer, :columns])
            offset += width
        return out

    def _pack(self, group: Group, layer: int) -> _Packed:
        """The columns in use of a group in the forms that multiply fastest."""
        down = self._down[group.name][layer, : self._width].transpose(0, 1).flatten(0, 1)
        ups = [stack[layer, : self._width] for stack in self._up[group.name]]
        plain = None
        if self._width <= _FEW_COLUMNS:
            plain = _Plain(down.float(), tuple(up.float() for up in ups))
        return _Packed(
            len(ups),
            make_linear(down, None, "native"),
            make_linear(torch.block_diag(*(up.t() for up in ups)), None, "native"),
            plain,
        )


def foreign_columns(owned: list[range | None], columns: int, device: torch.device) -> Tensor | None:
    """The mask [tokens, columns] for tokens that own the given columns; None if none owns any."""
    if not any(owned):
        return None
    bounds = torch.tensor([(r.start, r.stop) if r else (0, 0) for r in owned], device=device)
    index = torch.arange(columns, device=device)
    return (index < bounds[:, :1]) | (index >= bounds[:, 1:])
