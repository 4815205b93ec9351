"""Keys and values of the rows in the batch, written in place."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


class KvCache:
    """For each layer, K and V of every row and head as one strip of positions.

    Each strip has one position more than the context: rows of a step that have nothing to say
    write there. Memory of positions never reached is never touched, so it costs nothing on a CPU.
    """

    def __init__(
        self,
        layers: int,
        rows: int,
        context: int,
        heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.scratch = context
        self.length = context + 1
        self._head_dim = head_dim
        shape = (layers, 2, rows, heads, self.length, head_dim)
        self._all = _lazy_zeros(shape, dtype, device)
        self._layers = list(self._all)
        self._flat = [layer.view(-1, head_dim) for layer in self._layers]
        strips = torch.arange(2 * rows * heads, device=device).view(2, rows, heads)
        self._strips = strips.transpose(0, 1).flatten(1) * self.length  # [rows, 2 · heads]

    def slots(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Where the heads of K and V at a row's position are written: [tokens · 2 · heads]."""
        return (self._strips[rows] + positions[:, None]).flatten()

    def put(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        """Write `kv` [tokens, 2 · heads · head_dim] at `slots`."""
        self._flat[layer].index_copy_(0, slots, kv.reshape(-1, self._head_dim))

    def address(self, layer: int) -> int:
        """Where the first of the slots is in memory."""
        return int(self._flat[layer].data_ptr())

    def window(self, layer: int, first: int, last: int, length: int) -> tuple[Tensor, Tensor]:
        """K and V of rows first … last-1, positions 0 … length-1: [rows, heads, length, dim]."""
        both = self._layers[layer][:, first:last, :, :length]
        return both[0], both[1]

    def strip(self, row: int, start: int, end: int) -> Tensor:
        """A view of one row's positions start … end-1: [layers, 2, heads, positions, dim]."""
        return self._all[:, :, row, :, start:end]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one row over another."""
        self.strip(target, 0, length).copy_(self.strip(source, 0, length))

    def clear(self, row: int) -> None:
        """Forget a row whose values may not be finite: masked positions are still multiplied."""
        self._all[:, :, row].zero_()


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy asks the system for zero pages; torch would write, and so occupy, every one of them
    raw = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)
