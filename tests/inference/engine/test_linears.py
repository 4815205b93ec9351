from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from inference.engine.linears import WeightFormat, make_linear


@pytest.mark.parametrize(
    ("form", "error"), [("native", 1e-5), ("float32", 1e-5), ("bfloat16", 0.02), ("int8", 0.02)]
)
@pytest.mark.parametrize("rows", [1, 3, 8, 40])
@pytest.mark.parametrize("biased", [False, True])
def test_every_format_is_close_to_the_plain_product(
    form: WeightFormat, error: float, rows: int, biased: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator)
    bias = torch.randn(96, generator=generator) if biased else None
    x = torch.randn(rows, 64, generator=generator)
    expected = F.linear(x, weight, bias)
    found = make_linear(weight, bias, form)(x).float()
    assert found.shape == expected.shape
    assert (found - expected).norm() <= error * expected.norm()
