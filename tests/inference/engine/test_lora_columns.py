"""Every way to add adapters gives each token its own, and nothing of its neighbours'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inference.engine.adapter_weights import AdapterWeights, Group, GroupWeights
from inference.engine.lora_columns import Gathered, LoraColumns, owned_columns

CPU = torch.device("cpu")
GROUP = Group("qkv", ("q", "k", "v"), width=24, outputs=(16, 8, 8), paired=0)


def random_adapter(rank: int, seed: int, scale: float = 1.0) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(1, rank, 3, 24, generator=generator) * scale
    ups = tuple(torch.randn(1, rank, width, generator=generator) for width in GROUP.outputs)
    return AdapterWeights(f"{seed}", f"{seed}", rank, {"qkv": GroupWeights(down, ups)})


def alone(adapter: AdapterWeights, x: Tensor) -> Tensor:
    """What the adapter, rounded as `x` is, adds to one token; exactly, projection by projection."""
    weights = adapter.groups["qkv"]
    downs, ups = weights.down[0].to(x.dtype).double(), [up[0].to(x.dtype) for up in weights.up]
    parts = zip(downs.unbind(1), ups, strict=True)
    return torch.cat([x.double() @ down.t() @ up.double() for down, up in parts])


def columns_of(*adapters: AdapterWeights, dtype: torch.dtype) -> tuple[LoraColumns, list[range]]:
    """The adapters beside each other, and where."""
    columns, places, end = LoraColumns((GROUP,), 1, 64, dtype, CPU), [], 0
    for adapter in adapters:
        columns.write(adapter, end)
        places.append(range(end, end + adapter.rank))
        end += adapter.rank
    return columns, places


def added(columns: LoraColumns, x: Tensor, out: Tensor, owned: list[range | None]) -> Tensor:
    used = max(one.stop for one in owned if one)
    own = columns.ownership(owned_columns(owned, CPU), used)
    # what CPUs gather, GPUs compute for all columns; both must be right
    assert isinstance(own, Gathered) == (columns.dtype in (torch.float32, torch.bfloat16))
    return columns.add("qkv", 0, x, out, own)


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-4), (torch.bfloat16, 0.01), (torch.float64, 1e-9)]
)
@pytest.mark.parametrize("ranks", [(4, 8), (16,), (16, 16, 3), (1, 2, 5)])
@pytest.mark.parametrize("tokens", [1, 4, 5, 9])
def test_each_token_gets_its_own_adapter(
    tokens: int, ranks: tuple[int, ...], dtype: torch.dtype, error: float
) -> None:
    adapters = [random_adapter(rank, seed) for seed, rank in enumerate(ranks)]
    columns, places = columns_of(*adapters, dtype=dtype)
    whose = [token % (len(adapters) + 1) for token in range(tokens)]  # the last number: base
    owned = [places[n] if n < len(adapters) else None for n in whose]
    x, out = torch.randn(tokens, 24).to(dtype), torch.randn(tokens, 32).to(dtype)
    expected = out.double()
    for token, n in enumerate(whose):
        if n < len(adapters):
            expected[token] += alone(adapters[n], x[token])
    found = added(columns, x, out, owned).double()
    assert ((found - expected).abs() <= error * (1 + expected.abs())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_prompts_beside_decoding_rows(dtype: torch.dtype) -> None:
    first, second = random_adapter(8, 1), random_adapter(4, 2)
    columns, (one, two) = columns_of(first, second, dtype=dtype)
    owned = [two, None, *[one] * 300, *[None] * 100, *[two] * 30]
    x, out = torch.randn(len(owned), 24).to(dtype), torch.randn(len(owned), 32).to(dtype)
    expected = out.double()
    for token, place in enumerate(owned):
        if place:
            expected[token] += alone(first if place is one else second, x[token])
    found = added(columns, x, out, owned).double()
    assert ((found - expected).abs() <= (1 + expected.abs()) * 0.1).all()
    assert (found - expected).abs().mean() < (1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_overflow_in_one_adapter_does_not_reach_others(dtype: torch.dtype) -> None:
    wild, tame = random_adapter(8, 1, scale=3e38), random_adapter(8, 2)
    wild.groups["qkv"].down[0, 0] = torch.nan
    columns, (one, two) = columns_of(wild, tame, dtype=dtype)
    owned = [one if token % 2 else two for token in range(6)]
    x = torch.randn(6, 24).to(dtype)
    found = added(columns, x, torch.zeros(6, 32, dtype=dtype), list(owned))
    assert not torch.isfinite(found[1::2]).all(dim=1).any()
    for token in range(0, 6, 2):
        expected = alone(tame, x[token])
        assert torch.allclose(found[token].double(), expected, rtol=0.01, atol=0.01)
