"""What a layer does between its large products, each in one compiled call on a CPU.

One thread does it all: what is left beside the products is small.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.engine.cpu_kernels import kernels
from inference.engine.kv_cache import KvCache
from inference.engine.operators import Shape, TorchOperators


class CompiledOperators:
    """For a working type of float32 or bfloat16, beside sums over the layers in float32.

    All that comes in is contiguous, but for `query`, whose rows may be longer, and keys and values,
    which are a `KvCache.window` from its first row on.
    """

    needs_masks = False

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._kernels = kernels(shape.dtype)
        self._torch = TorchOperators(shape)

    def add_norm(self, x: Tensor, added: Tensor | None, weight: Tensor) -> Tensor:
        out = torch.empty(x.shape, dtype=self._shape.dtype)
        if added is not None:
            added = added.to(self._shape.dtype)
        self._kernels.add_norm(
            self._kernels.kind, x.data_ptr(), 0 if added is None else added.data_ptr(),
            weight.data_ptr(), out.data_ptr(), *x.shape, self._shape.eps,
        )  # fmt: skip
        return out

    def rotate_and_keep(
        self, qkv: Tensor, rotation: Tensor, kv: KvCache, layer: int, slots: Tensor
    ) -> None:
        shape = self._shape
        self._kernels.rotate_and_keep(
            self._kernels.kind, qkv.data_ptr(), rotation.data_ptr(), kv.address(layer),
            slots.numpy(), len(qkv), shape.heads, shape.kv_heads, shape.head_dim,
        )  # fmt: skip

    def attend_rows(
        self, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, mask: Tensor | None
    ) -> Tensor:
        del mask
        shape = self._shape
        out = torch.empty(len(query), shape.query_width, dtype=shape.dtype)
        self._kernels.attend_rows(
            self._kernels.kind, query.data_ptr(), query.stride(0), keys.data_ptr(),
            values.data_ptr(), out.data_ptr(), positions.numpy(), shape.kv_heads,
            shape.heads // shape.kv_heads, shape.head_dim, keys.stride(1) // shape.head_dim,
            shape.scale,
        )  # fmt: skip
        return out

    def gate(self, gate_up: Tensor) -> Tensor:
        if self._shape.activation != "silu":
            return self._torch.gate(gate_up)
        tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
        gate_up = gate_up.to(self._shape.dtype)
        out = torch.empty(tokens, width, dtype=self._shape.dtype)
        self._kernels.gate_silu(
            self._kernels.kind, gate_up.data_ptr(), out.data_ptr(), tokens, width
        )
        return out
