from __future__ import annotations

import torch
from torch import Tensor

from inference.engine.prefix_cache import BLOCK, PrefixCache

BLOCK_BYTES = 2 * BLOCK * 4 * 4


def strip_of(tokens: list[int], mark: float = 0.0) -> Tensor:
    """Values that say which token and which text they belong to: [2 layers, tokens, 4]."""
    values = torch.tensor(tokens, dtype=torch.float32) + mark
    return values[None, :, None].expand(2, -1, 4).clone()


def text(*parts: int, tail: int = 0) -> list[int]:
    """Whole blocks of one repeated token each, and `tail` tokens more."""
    return [part for part in parts for _ in range(BLOCK)] + [99] * tail


def test_a_known_beginning_is_copied_back() -> None:
    cache = PrefixCache(1 << 20)
    cache.store("base", text(1, 2, tail=5), strip_of(text(1, 2, tail=5)))
    strip = torch.zeros(2, 3 * BLOCK, 4)
    assert cache.restore("base", text(1, 2, 3), strip) == 2 * BLOCK
    assert torch.equal(strip[:, : 2 * BLOCK], strip_of(text(1, 2)))
    assert not strip[:, 2 * BLOCK :].any()
    assert (cache.hit_tokens, cache.asked_tokens) == (2 * BLOCK, 3 * BLOCK)


def test_the_last_token_is_always_left_to_compute() -> None:
    cache = PrefixCache(1 << 20)
    cache.store("base", text(1, 2), strip_of(text(1, 2)))
    assert cache.restore("base", text(1, 2), torch.zeros(2, 2 * BLOCK, 4)) == BLOCK
    assert cache.restore("base", [], torch.zeros(2, 0, 4)) == 0


def test_neither_another_adapter_nor_another_beginning_is_a_hit() -> None:
    cache = PrefixCache(1 << 20)
    cache.store("pirate:1", text(1, 2), strip_of(text(1, 2)))
    strip = torch.zeros(2, 3 * BLOCK, 4)
    assert cache.restore("pirate:2", text(1, 2, 3), strip) == 0
    assert cache.restore("pirate:1", text(2, 1, 3), strip) == 0
    assert not strip.any()


def test_equal_blocks_after_different_beginnings_stay_apart() -> None:
    cache = PrefixCache(1 << 20)
    cache.store("base", text(1, 3), strip_of(text(1, 3), mark=0.25))
    cache.store("base", text(2, 3), strip_of(text(2, 3), mark=0.5))
    strip = torch.zeros(2, 3 * BLOCK, 4)
    assert cache.restore("base", text(2, 3, 4), strip) == 2 * BLOCK
    assert torch.equal(strip[:, : 2 * BLOCK], strip_of(text(2, 3), mark=0.5))


def test_a_common_beginning_is_stored_once() -> None:
    cache = PrefixCache(1 << 20)
    cache.store("base", text(1, 2, 3), strip_of(text(1, 2, 3)))
    cache.store("base", text(1, 2, 4), strip_of(text(1, 2, 4)))
    assert len(cache) == 4
    assert cache.bytes == 4 * BLOCK_BYTES


def test_the_least_recently_used_leave_first_and_never_a_parent_before_its_child() -> None:
    cache = PrefixCache(4 * BLOCK_BYTES)
    cache.store("base", text(1, 2), strip_of(text(1, 2)))
    cache.store("base", text(3, 4), strip_of(text(3, 4)))
    cache.restore("base", text(1, 9), torch.zeros(2, 2 * BLOCK, 4))
    cache.store("base", text(5), strip_of(text(5)))
    whole = torch.zeros(2, 3 * BLOCK, 4)
    assert cache.restore("base", text(1, 2, 9), whole) == BLOCK  # 2 was the oldest
    assert cache.restore("base", text(3, 4, 9), whole) == 2 * BLOCK
    for block in list(cache._blocks.values()):
        parent = block.key[0]
        assert isinstance(parent, str) or any(b.serial == parent for b in cache._blocks.values())


def test_the_budget_holds_whatever_is_stored() -> None:
    cache = PrefixCache(3 * BLOCK_BYTES)
    for first in range(1, 20):
        long = text(first, 50, 51, 52, 53)
        cache.store("base", long, strip_of(long))
        assert cache.bytes <= 3 * BLOCK_BYTES
        assert cache.restore("base", text(first, 50, 51, 52), torch.zeros(2, 4 * BLOCK, 4)) > 0
    nothing = PrefixCache(0)
    nothing.store("base", text(1, 2), strip_of(text(1, 2)))
    assert len(nothing) == 0
