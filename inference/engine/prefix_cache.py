"""Keys and values of texts seen before, found again by (adapter, tokens).

Texts are cut into blocks of 16 tokens. A block's key is its parent block and its own tokens, the
root being the adapter's key, so a block can only be reached through exactly the text and the
adapter that wrote it; a common beginning is stored once. Rows copy blocks in and out: a copy
costs about one hundredth of computing them, and rows stay plain strips that decode fast.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 16
_Key = tuple[int | str, tuple[int, ...]]


@dataclass(slots=True)
class _Block:
    serial: int
    key: _Key
    kv: Tensor  # [layers, …, BLOCK, head_dim]


class PrefixCache:
    """At most `budget` bytes of blocks; the least recently used leave first.

    A chain is always touched from its last block to its first, so a parent is never older than
    its children, and what is evicted is never a block that others hang on.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._serial = 0
        self.bytes = 0
        self.hit_tokens = 0
        self.asked_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def restore(self, adapter: str, tokens: Sequence[int], strip: Tensor) -> int:
        """Copy the longest known beginning of `tokens` into `strip` [layers, …, tokens, dim].

        Returns how many tokens it has: a multiple of the block, and never all of them, as the
        last token's logits are still to be computed.
        """
        chain = self._chain(adapter, tokens[: max(len(tokens) - 1, 0)])
        for index, block in enumerate(chain):
            strip[..., index * BLOCK : (index + 1) * BLOCK, :].copy_(block.kv)
        self._touch(chain)
        self.asked_tokens += len(tokens)
        self.hit_tokens += len(chain) * BLOCK
        return len(chain) * BLOCK

    def store(self, adapter: str, tokens: Sequence[int], strip: Tensor) -> None:
        """Keep the full blocks of `tokens`, whose values stand in `strip`, that are not yet known.

        Raises what the allocator raises if memory ends; what was stored until then is usable.
        """
        chain = self._chain(adapter, tokens)
        parent: int | str = chain[-1].serial if chain else adapter
        try:
            for start in range(len(chain) * BLOCK, len(tokens) - BLOCK + 1, BLOCK):
                kv = strip[..., start : start + BLOCK, :].clone(
                    memory_format=torch.contiguous_format
                )
                if kv.nbytes > self._budget:
                    break
                self._serial += 1
                block = _Block(self._serial, (parent, tuple(tokens[start : start + BLOCK])), kv)
                self._blocks[block.key] = block
                self.bytes += kv.nbytes
                chain.append(block)
                parent = block.serial
        finally:
            self._touch(chain)
            self.evict(self._budget)

    def evict(self, budget: int) -> None:
        """Forget least recently used blocks until at most `budget` bytes are left."""
        while self.bytes > budget:
            _, block = self._blocks.popitem(last=False)
            self.bytes -= block.kv.nbytes

    def _chain(self, adapter: str, tokens: Sequence[int]) -> list[_Block]:
        chain: list[_Block] = []
        parent: int | str = adapter
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            block = self._blocks.get((parent, tuple(tokens[start : start + BLOCK])))
            if block is None:
                break
            chain.append(block)
            parent = block.serial
        return chain

    def _touch(self, chain: list[_Block]) -> None:
        for block in reversed(chain):
            self._blocks.move_to_end(block.key)
