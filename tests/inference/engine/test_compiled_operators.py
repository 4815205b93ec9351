"""The compiled operators do what torch's do."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from torch import Tensor

from inference.engine import cpu_kernels
from inference.engine.compiled_operators import CompiledOperators
from inference.engine.kv_cache import KvCache
from inference.engine.operators import Operators, Shape, TorchOperators

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16)


def shape_of(dtype: torch.dtype, heads: int = 6, kv_heads: int = 2, head_dim: int = 16) -> Shape:
    return Shape(heads, kv_heads, head_dim, 1e-5, 0.3, "silu", dtype)


def both(shape: Shape) -> tuple[Operators, Operators]:
    return CompiledOperators(shape), TorchOperators(shape)


def close(found: Tensor, expected: Tensor) -> bool:
    """Within two roundings of the type."""
    error = 2e-6 if found.dtype == torch.float32 else 2**-7
    return found.dtype == expected.dtype and torch.allclose(
        found.float(), expected.float(), rtol=error, atol=error
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [8, 33, 576])
@pytest.mark.parametrize("adds", [False, True])
def test_add_norm(dtype: torch.dtype, width: int, adds: bool) -> None:
    x, weight = torch.randn(5, width), torch.randn(width)
    added = torch.randn(5, width).to(dtype) if adds else None
    sums, found = [], []
    for operators in both(shape_of(dtype)):
        mine = x.clone()
        found.append(operators.add_norm(mine, added, weight))
        sums.append(mine)
    assert torch.equal(*sums)
    assert torch.equal(sums[0], x) != adds
    assert close(*found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, 16), (4, 4, 6), (3, 1, 64)])
def test_rotate_and_keep(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> None:
    shape = shape_of(dtype, heads, kv_heads, head_dim)
    qkv = torch.randn(4, (heads + 2 * kv_heads) * head_dim).to(dtype)
    rotation = torch.polar(torch.ones(4, 1, head_dim // 2), torch.randn(4, 1, head_dim // 2))
    turned, kept = [], []
    for operators in both(shape):
        kv = KvCache(2, 3, 9, kv_heads, head_dim, dtype, CPU)
        mine = qkv.clone()
        slots = kv.slots(torch.tensor([2, 0, 1, 1]), torch.tensor([9, 3, 0, 1]))
        operators.rotate_and_keep(mine, rotation, kv, 1, slots)
        turned.append(mine)
        kept.append(torch.stack([kv.strip(row, 0, 10) for row in range(3)]))
        assert not kept[-1][:, 0].any()  # of the other layer
        assert kept[-1][0, 1, :, :, 3].any()
    assert close(*turned)
    assert close(*kept)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, 16), (4, 4, 6), (3, 1, 64)])
def test_attend_rows(dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> None:
    rows, window = 5, 40
    shape = shape_of(dtype, heads, kv_heads, head_dim)
    strips = torch.randn(2, rows + 1, kv_heads, window + 3, head_dim).to(dtype)
    keys, values = strips[:, :rows, :, :window]
    query = torch.randn(rows, shape.query_width + 10).to(dtype)[:, : shape.query_width]
    positions = torch.tensor([0, 39, 7, 2, 20])
    seen = torch.arange(window) <= positions[:, None]
    mask = torch.zeros(rows, window, dtype=dtype).masked_fill(~seen, -torch.inf)[:, None, None]
    compiled, plain = both(shape)
    found = compiled.attend_rows(query, keys, values, positions, None)
    assert close(found, plain.attend_rows(query, keys, values, positions, mask))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_in_its_row(dtype: torch.dtype) -> None:
    shape = shape_of(dtype)
    keys, values = torch.randn(2, 3, 2, 8, 16).to(dtype)
    keys[0, :, 1], keys[2, :, 1] = torch.nan, torch.inf
    query, positions = torch.rand(3, shape.query_width).to(dtype), torch.tensor([4, 4, 4])
    found, _ = (one.attend_rows(query, keys, values, positions, None) for one in both(shape))
    assert torch.isfinite(found[1]).all()
    assert not torch.isfinite(found[0]).any()
    assert not torch.isfinite(found[2]).any()
    norm = both(shape)[0].add_norm(torch.full((1, 4), torch.nan), None, torch.ones(4))
    assert torch.isnan(norm).all()
    gate = both(shape)[0].gate(torch.tensor([[torch.nan, 1.0, 2.0, 3.0]]).to(dtype))
    assert torch.isnan(gate[0, 0])
    assert torch.isfinite(gate[0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_gate(dtype: torch.dtype, activation: str) -> None:
    shape = Shape(6, 2, 16, 1e-5, 0.3, activation, dtype)
    gate_up = torch.cat(
        [torch.randn(3, 20) * 8, torch.tensor([[-1e30, 200.0] * 5 + [3.0] * 10])]
    ).to(dtype)
    compiled, plain = both(shape)
    assert close(compiled.gate(gate_up), plain.gate(gate_up))


@settings(deadline=None)  # the first call compiles it
@given(st.floats(-87, 88, width=32))
def test_exp(x: float) -> None:
    assert float(cpu_kernels._exp(np.float32(x))) == pytest.approx(math.exp(x), rel=3e-7)


def test_exp_of_what_has_no_power() -> None:
    assert float(cpu_kernels._exp(np.float32(-1e30))) == 0
    assert float(cpu_kernels._exp(np.float32(1e30))) == math.inf
    assert math.isnan(cpu_kernels._exp(np.float32(math.nan)))


def _narrow(kind: Any, value: Any) -> Any:
    return cpu_kernels._narrow(kind, value)


narrowed: Any = njit(_narrow)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bfloat16_is_rounded_as_torch_rounds(bits: int) -> None:
    (value,) = struct.unpack("f", struct.pack("I", bits))
    found = narrowed(np.uint16(0), np.float32(value))
    rounded = torch.tensor(int(found), dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    expected = torch.tensor(value, dtype=torch.float32).bfloat16()
    assert torch.equal(rounded, expected) or (rounded.isnan() and expected.isnan())
