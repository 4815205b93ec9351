"""What a step does between its large products, compiled for this CPU by numba.

torch's operators cost 3 to 15 µs a call, whatever they do, and a step of a small model makes over a
thousand of them. Here one call does what took several. Matrices come as addresses, since making a
numpy array of a tensor takes longer than many of these calls; `kind` is any scalar of their type,
float32, or uint16 for the bits of a bfloat16. Sums are made in float32.

Nothing is checked: shapes, strides and types are the caller's to know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

# sums may be reordered, as in any matrix product; NaN and infinity keep their meaning
_SUMS = {"reassoc", "contract", "nsz"}


def kind_of(dtype: torch.dtype) -> Any:
    """The `kind` of matrices of float32 or bfloat16."""
    return {torch.float32: np.float32(0), torch.bfloat16: np.uint16(0)}[dtype]


def _compiled(function: Any) -> Any:
    """Compiled at the first call and kept on the disk, where there is a folder to keep it in."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": _SUMS}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the program's folder nor the user's cache can be written
        return njit(**options)(function)


def _inlined(function: Any) -> Any:
    return njit(inline="always", fastmath=_SUMS)(function)


def _instruction(function: Any) -> Any:
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


@_compiled
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
