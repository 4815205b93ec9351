import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.exporting.meta import feed_forward, meta_name
from finetune.exporting.meta_reader import hidden_size, read_logits


@given(hidden=st.integers(8, 16384), ratio=st.floats(0.5, 8), step=st.sampled_from([1, 8, 64, 256]))
def test_metas_formula_gives_any_size(hidden: int, ratio: float, step: int) -> None:
    intermediate = max(step, round(hidden * ratio / step) * step)
    multiple, multiplier = feed_forward(hidden, intermediate)
    assert hidden_size(hidden, multiple, multiplier) == intermediate


@pytest.mark.parametrize(
    ("hidden", "intermediate", "multiplier"),
    [(4096, 11008, None), (5120, 13824, None), (4096, 14336, 1.3), (8192, 28672, 1.3)],
    ids=["llama-7b", "llama-13b", "llama-3-8b", "llama-2-70b"],
)
def test_metas_own_models_have_metas_own_multiplier(
    hidden: int, intermediate: int, multiplier: float | None
) -> None:
    assert feed_forward(hidden, intermediate)[1] == multiplier


def test_names_are_metas() -> None:
    assert meta_name("lm_head.weight") == "output.weight"
    assert meta_name("model.layers.11.mlp.down_proj.weight") == "layers.11.feed_forward.w2.weight"


def test_the_reader_refuses_weights_that_do_not_fit_the_parameters(tmp_path: Path) -> None:
    params = {"dim": 8, "n_layers": 0, "n_heads": 2, "n_kv_heads": 1, "vocab_size": 5,
        "multiple_of": 8, "norm_eps": 1e-5}  # fmt: skip
    (tmp_path / "params.json").write_text(json.dumps(params))
    weights = {
        "tok_embeddings.weight": torch.zeros(5, 8),
        "output.weight": torch.zeros(5, 7),
        "norm.weight": torch.zeros(8),
    }
    torch.save(weights, tmp_path / "consolidated.00.pth")
    with pytest.raises(ValueError, match=r"output.weight is not as params.json has it"):
        read_logits(tmp_path, [1, 2])
