"""One matrix of the base model in the format that multiplies fastest on its device.

`F.linear` on a CPU reads row-major weights and is far from the memory's bandwidth at small batch.
oneDNN's blocked layout, packed once at load, is 2 to 4 times as fast at 1 to 32 rows and twice as
fast in prefill; it is reached through the same ATen operators that `torch.compile` emits, without
it. Figures: benchmarks/RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW_ROWS = 4
# the overload itself: finding it anew costs a microsecond at every call
_packed_linear = torch.ops.mkldnn._linear_pointwise.default

WeightFormat = Literal["native", "float32", "bfloat16", "int8"]


class Linear(Protocol):
    """`x` [tokens, in] of any float type to [tokens, out], fresh, contiguous, in its own type."""

    def __call__(self, x: Tensor) -> Tensor: ...


class PlainLinear:
    """The matrix as it is; what GPUs use."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight.contiguous()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias)


class PackedLinear:
    """The matrix in oneDNN's blocked layout (CPU; float32, or bfloat16 where the CPU has it)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._dtype = weight.dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = _packed_linear(x.to(self._dtype), self._weight, self._bias, "none", [], "")
        return out


class Int8Linear:
    """int8 weights with one scale per output, unpacked on the fly; activations stay bfloat16.

    At few rows the time is that of reading the weights, and they are half as long; from
    `_FEW_ROWS` on, arithmetic rules and the packed form of full precision is faster.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._wide = PackedLinear(weight, bias)
        scales = (weight.float().abs().amax(dim=1) / 127).clamp_min(1e-12)
        quantised = (weight.float() / scales[:, None]).round().clamp(-127, 127)
        self._weight = quantised.to(torch.int8)
        self._scales = scales.bfloat16()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) > _FEW_ROWS:
            return self._wide(x)
        out = torch._weight_int8pack_mm(x.bfloat16(), self._weight, self._scales)
        return out if self._bias is None else out + self._bias


class ModuleLinear:
    """Modules whose weights cannot be joined (bitsandbytes); their outputs are joined instead."""

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
        self._modules = tuple(modules)
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        outs = [module(x) for module in self._modules]
        if len(outs) > 1:
            return torch.cat(outs, dim=-1)
        only: Tensor = outs[0].clone(memory_format=torch.contiguous_format)
        return only


def make_linear(weight: Tensor, bias: Tensor | None, form: WeightFormat) -> Linear:
    """`weight` [out, in] in the given format, on its own device."""
    dtype = working_dtype(form, weight.dtype, weight.device)
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    packs = torch.backends.mkldnn.is_available() and dtype in (torch.float32, torch.bfloat16)
    if weight.device.type != "cpu" or not packs:
        return PlainLinear(weight, bias)
    return Int8Linear(weight, bias) if form == "int8" else PackedLinear(weight, bias)


def working_dtype(form: WeightFormat, native: torch.dtype, device: torch.device) -> torch.dtype:
    """The type of activations, keys and values beside weights of a format."""
    if form == "int8":
        form = fastest_lossless_format(device)
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(form, native)


def fastest_lossless_format(device: torch.device) -> WeightFormat:
    """bfloat16 where the CPU multiplies it natively, else float32; GPUs keep the model's own."""
    if device.type != "cpu":
        return "native"
    fast = torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"
