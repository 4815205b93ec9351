"""Every way to add adapters gives each token its own, and nothing of its neighbours'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inference.engine.adapter_weights import AdapterWeights, Group, GroupWeights
from inference.engine.lora_columns import LoraColumns, foreign_columns

CPU = torch.device("cpu")
GROUP = Group("qkv", ("q", "k", "v"), width=24, outputs=(16, 8, 8), paired=0)


def random_adapter(rank: int, seed: int, scale: float = 1.0) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(1, rank, 3, 24, generator=generator) * scale
    ups = tuple(torch.randn(1, rank, width, generator=generator) for width in GROUP.outputs)
    return AdapterWeights(f"{seed}", f"{seed}", rank, {"qkv": GroupWeights(down, ups)})


def alone(adapter: AdapterWeights, x: Tensor) -> Tensor:
    """What the adapter adds to one token, projection by projection."""
    weights = adapter.groups["qkv"]
    parts = zip(weights.down[0].unbind(1), weights.up, strict=True)
    return torch.cat([x @ down.t() @ up[0] for down, up in parts])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ranks", [(4, 8), (16,), (16, 16, 3)])
@pytest.mark.parametrize("tokens", [1, 4, 5, 9])
def test_each_token_gets_its_own_adapter(tokens: int, ranks: tuple[int, ...], packed: bool) -> None:
    columns = LoraColumns((GROUP,), 1, 64, torch.float32, CPU)
    adapters, places, end = [random_adapter(rank, seed) for seed, rank in enumerate(ranks)], [], 0
    for adapter in adapters:
        columns.write(adapter, end)
        places.append(range(end, end + adapter.rank))
        end += adapter.rank
    if packed:
        columns.prepare(end)
        assert columns._packed[0] is not None
        assert (columns._packed[0]["qkv"].plain is None) == (end > 16)
    whose = [token % (len(adapters) + 1) for token in range(tokens)]  # the last number: base
    owned = [places[n] if n < len(adapters) else None for n in whose]
    x, out = torch.randn(tokens, 24), torch.randn(tokens, 32)
    expected = out.clone()
    for token, n in enumerate(whose):
        if n < len(adapters):
            expected[token] += alone(adapters[n], x[token])
    masks = columns.masks(foreign_columns(owned, end, CPU))
    found = columns.add("qkv", 0, x, out, masks)
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("tokens", [2, 6])
def test_an_overflow_in_one_adapter_does_not_reach_others(tokens: int) -> None:
    columns = LoraColumns((GROUP,), 1, 64, torch.float32, CPU)
    wild, tame = random_adapter(8, 1, scale=3e38), random_adapter(8, 2)
    columns.write(wild, 0)
    columns.write(tame, 8)
    columns.prepare(16)
    owned = [range(8) if token % 2 else range(8, 16) for token in range(tokens)]
    x = torch.randn(tokens, 24)
    masks = columns.masks(foreign_columns(list(owned), 16, CPU))
    found = columns.add("qkv", 0, x, torch.zeros(tokens, 32), masks)
    assert not torch.isfinite(found[1::2]).all()
    for token in range(0, tokens, 2):
        assert torch.allclose(found[token], alone(tame, x[token]), atol=1e-3)
