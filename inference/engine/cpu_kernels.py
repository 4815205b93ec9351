"""What a step does between its large products, compiled for this CPU by numba.

torch's operators cost 3 to 15 µs a call, whatever they do, and a step of a small model makes over a
thousand of them. Here one call does what took several. Matrices come as addresses, since making a
numpy array of a tensor takes longer than many of these calls; `kind` is any scalar of their type,
float32, or uint16 for the bits of a bfloat16. Sums are made in float32.

Nothing is checked: the caller has to know that every matrix is contiguous, of the type and size
that it is said to be, and lives until the call returns.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import carray, njit, typeof, types
from numba.extending import intrinsic

from inference.engine.kernel_cache import kept

# sums may be reordered, as in any matrix product; NaN and infinity keep their meaning
_SUMS = {"reassoc", "contract", "nsz"}
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # whose powers of e are still normal numbers


def _inlined(function: Any) -> Any:
    return njit(inline="always", fastmath=_SUMS)(function)


def _inlined_exact(function: Any) -> Any:
    """The same, with its sums in the order that they are written in."""
    return njit(forceinline=True, error_model="numpy")(function)


def _instruction(function: Any) -> Any:
    # typed here, since numba's decorators are not
    return intrinsic(function)


@_instruction
def _pointer(_: Any, kind: Any, address: Any) -> Any:
    """The address of something of type `kind`, as `carray` wants it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], context.get_value_type(signature.return_type))

    return types.CPointer(kind)(kind, types.int64), generate


@_instruction
def _wide(_: Any, value: Any) -> Any:
    """A float32 as it is, or of the bits of a bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.args[0] == types.float32:
            return arguments[0]
        bits = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, bits.type(16)), ir.FloatType())

    return types.float32(value), generate


@_instruction
def _narrow(_: Any, kind: Any, value: Any) -> Any:
    """A float32 as it is, or the bits of the nearest bfloat16, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[1]
        if signature.return_type == types.float32:
            return value
        bits = builder.bitcast(value, ir.IntType(32))
        odd = builder.and_(builder.lshr(bits, bits.type(16)), bits.type(1))
        up = builder.add(bits, builder.add(odd, bits.type(0x7FFF)))
        # adding to the bits of a NaN may make anything of it
        kept = builder.select(
            builder.fcmp_unordered("uno", value, value), bits.type(0x7FC00000), up
        )
        return builder.trunc(builder.lshr(kept, bits.type(16)), ir.IntType(16))

    return kind(kind, types.float32), generate


def add_adapters(
    kind: Any, x_at: int, out_at: int, width: int, owned: Any, down_at: int, ups: Any, outputs: Any
) -> None:
    """Add to `out` what each token's own adapter makes of `x`.

    kind: of every matrix
    x_at: [tokens, width]
    out_at: [tokens, sum of outputs]
    owned: int64 [tokens, 2], the first column of a token's adapter and the one behind its last
    down_at: [columns, parts, width]
    ups: int64 [parts], addresses of [columns, outputs[part]]
    outputs: int64 [parts]
    """
    parts, total = len(outputs), outputs.sum()
    tokens, highest = len(owned), owned[:, 1].max()
    x = carray(_pointer(kind, x_at), (tokens, width))
    out = carray(_pointer(kind, out_at), (tokens, total))
    down = carray(_pointer(kind, down_at), (highest * parts, width))
    given = np.empty(width, np.float32)
    inner = np.empty(highest * parts, np.float32)
    sums = np.empty(outputs.max(), np.float32)
    for token in range(tokens):
        first, last = owned[token, 0], owned[token, 1]
        if first >= last:
            continue
        for k in range(width):
            given[k] = _wide(x[token, k])
        _products(down, given, inner, first * parts, last * parts)
        offset = 0
        for part in range(parts):
            size = outputs[part]
            up = carray(_pointer(kind, ups[part]), (highest, size))
            target = out[token, offset : offset + size]
            for j in range(size):
                sums[j] = _wide(target[j])
            _add_rows(up, inner[part::parts], sums[:size], first, last)
            for j in range(size):
                target[j] = _narrow(kind, sums[j])
            offset += size


def add_norm(
    kind: Any, x_at: int, added_at: int, weight_at: int, out_at: int, tokens: int, width: int,
    eps: float,
) -> None:  # fmt: skip
    """x += added, if there is an address of it; out = x · weight / root mean square of x.

    x: float32 [tokens, width]
    added, out: [tokens, width]
    weight: float32 [width]
    """
    x = carray(_pointer(np.float32(0), x_at), (tokens, width))
    added = carray(_pointer(kind, added_at), (tokens, width))
    weight = carray(_pointer(np.float32(0), weight_at), width)
    out = carray(_pointer(kind, out_at), (tokens, width))
    for token in range(tokens):
        row, target = x[token], out[token]
        if added_at:
            more = added[token]
            for k in range(width):
                row[k] += _wide(more[k])
        squares = np.float32(0)
        for k in range(width):
            squares += row[k] * row[k]
        scale = np.float32(1 / np.sqrt(squares / np.float32(width) + np.float32(eps)))
        for k in range(width):
            target[k] = _narrow(kind, row[k] * scale * weight[k])


def rotate_and_keep(
    kind: Any, qkv_at: int, rotation_at: int, kept_at: int, slots: Any, tokens: int, heads: int,
    kv_heads: int, dim: int,
) -> None:  # fmt: skip
    """Rotate queries and keys in place, and write keys and values into the cache.

    qkv: [tokens, heads + 2 · kv_heads, dim], rotated elements being neighbours
    rotation: float32 [tokens, dim], cosine and sine in turn
    kept: [slots of the cache, dim]
    slots: int64 [tokens · 2 · kv_heads], each token's of the keys and then of the values
    """
    rows = heads + 2 * kv_heads
    qkv = carray(_pointer(kind, qkv_at), (tokens, rows, dim))
    rotation = carray(_pointer(np.float32(0), rotation_at), (tokens, dim))
    kept = carray(_pointer(kind, kept_at), (slots.max() + 1, dim))
    for token in range(tokens):
        angles = rotation[token]
        for head in range(heads + kv_heads):
            row = qkv[token, head]
            for k in range(0, dim, 2):
                a, b = _wide(row[k]), _wide(row[k + 1])
                cosine, sine = angles[k], angles[k + 1]
                row[k] = _narrow(kind, a * cosine - b * sine)
                row[k + 1] = _narrow(kind, a * sine + b * cosine)
        for i in range(2 * kv_heads):
            row, target = qkv[token, heads + i], kept[slots[token * 2 * kv_heads + i]]
            for k in range(dim):
                target[k] = row[k]


def attend_rows(
    kind: Any, query_at: int, stride: int, keys_at: int, values_at: int, out_at: int,
    positions: Any, kv_heads: int, group: int, dim: int, length: int, scale: float,
) -> None:  # fmt: skip
    """Attention of one token of each row over the row's own positions up to its own.

    query: [rows, kv_heads, group, dim], `stride` elements from row to row
    keys, values: [rows, kv_heads, length, dim]
    out: [rows, kv_heads, group, dim]
    positions: int64 [rows]
    """
    rows = len(positions)
    query = carray(_pointer(kind, query_at), (rows, stride))
    keys = carray(_pointer(kind, keys_at), (rows, kv_heads, length, dim))
    values = carray(_pointer(kind, values_at), (rows, kv_heads, length, dim))
    out = carray(_pointer(kind, out_at), (rows, kv_heads * group, dim))
    asked = np.empty(dim, np.float32)
    weights = np.empty(positions.max() + 1, np.float32)
    sums = np.empty(dim, np.float32)
    for row in range(rows):
        count = positions[row] + 1
        for head in range(kv_heads * group):
            for k in range(dim):
                asked[k] = _wide(query[row, head * dim + k]) * np.float32(scale)
            _products(keys[row, head // group], asked, weights, 0, count)
            top = weights[0]
            for i in range(count):
                top = max(top, weights[i])
            total = np.float32(0)
            for i in range(count):
                weights[i] = _exp(weights[i] - top)
                total += weights[i]
            sums[:] = 0
            _add_rows(values[row, head // group], weights, sums, 0, count)
            for k in range(dim):
                out[row, head, k] = _narrow(kind, sums[k] / total)


def gate_silu(kind: Any, gate_up_at: int, out_at: int, tokens: int, width: int) -> None:
    """out = silu(gate) · up, of `gate_up` [tokens, 2 · width]; out: [tokens, width]."""
    gate_up = carray(_pointer(kind, gate_up_at), (tokens, 2 * width))
    out = carray(_pointer(kind, out_at), (tokens, width))
    for token in range(tokens):
        row, target = gate_up[token], out[token]
        for k in range(width):
            gate = _wide(row[k])
            value = gate / (np.float32(1) + _exp(-gate)) * _wide(row[width + k])
            target[k] = _narrow(kind, value)


@_inlined_exact
def _exp(x: Any) -> Any:
    """e to the power of a float32, to its last bit or two; without a library, so in vectors."""
    bounded = min(max(x, _LOWEST), _HIGHEST)
    twos = np.floor(bounded * np.float32(1.442695041) + np.float32(0.5))
    # ln 2 in two parts, of which the first is exact times any whole number that occurs
    r = bounded - twos * np.float32(0.693359375) + twos * np.float32(2.1219444e-4)
    series = np.float32(1 / 5040)
    for factorial in (720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0):
        series = series * r + np.float32(1 / factorial)
    power = _wide(np.uint16((np.int32(twos) + np.int32(127)) << np.int32(7)))
    if x != x:
        return x  # NaN stays NaN
    return np.float32(0) if x < _LOWEST else np.float32(np.inf) if x > _HIGHEST else series * power


@_inlined
def _products(rows: Any, x: Any, out: Any, first: int, last: int) -> None:
    """out[i] = rows[i] · x for first ≤ i < last."""
    # four at a time, so that x is read once for all of them
    i = first
    while i + 4 <= last:
        r0, r1, r2, r3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        s0 = s1 = s2 = s3 = np.float32(0)
        for k in range(len(x)):
            s0 += x[k] * _wide(r0[k])
            s1 += x[k] * _wide(r1[k])
            s2 += x[k] * _wide(r2[k])
            s3 += x[k] * _wide(r3[k])
        out[i], out[i + 1], out[i + 2], out[i + 3] = s0, s1, s2, s3
        i += 4
    for j in range(i, last):
        row, s = rows[j], np.float32(0)
        for k in range(len(x)):
            s += x[k] * _wide(row[k])
        out[j] = s


@_inlined
def _add_rows(rows: Any, weights: Any, out: Any, first: int, last: int) -> None:
    """out += Σ weights[i] · rows[i] over first ≤ i < last."""
    i = first
    while i + 4 <= last:
        r0, r1, r2, r3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for k in range(len(out)):
            out[k] += w0 * _wide(r0[k]) + w1 * _wide(r1[k]) + w2 * _wide(r2[k]) + w3 * _wide(r3[k])
        i += 4
    for j in range(i, last):
        row, w = rows[j], weights[j]
        for k in range(len(out)):
            out[k] += w * _wide(row[k])


class Kernels(NamedTuple):
    """The functions above, compiled for matrices of one type."""

    kind: Any
    add_adapters: Any
    add_norm: Any
    rotate_and_keep: Any
    attend_rows: Any
    gate_silu: Any


@cache
def kernels(dtype: torch.dtype) -> Kernels:
    """For matrices of float32 or bfloat16; the first time on a machine takes seconds."""
    kind = {torch.float32: np.float32(0), torch.bfloat16: np.uint16(0)}[dtype]

    number, real = types.int64, types.float64
    vector, pairs = types.int64[::1], types.int64[:, ::1]
    # of what comes behind `kind`
    signatures = {
        add_adapters: (*[number] * 3, pairs, number, vector, vector),
        add_norm: (*[number] * 6, real),
        rotate_and_keep: (*[number] * 3, vector, *[number] * 4),
        attend_rows: (*[number] * 5, vector, *[number] * 4, real),
        gate_silu: (*[number] * 4,),
    }

    def compile_all(keep: bool) -> list[Any]:
        options = {"cache": keep, "nogil": True, "error_model": "numpy", "fastmath": _SUMS}
        return [
            njit([types.void(typeof(kind), *signature)], **options)(function)
            for function, signature in signatures.items()
        ]

    return Kernels(kind, *kept(compile_all, Path(__file__), str(dtype).removeprefix("torch.")))
