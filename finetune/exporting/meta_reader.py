"""A LLaMA from Meta's files, computed as their reference code does: the check on an export.

It shares nothing with the writer: names, shapes and the order of queries and keys are those of
github.com/meta-llama/llama (`model.py`), and what is not in the files is not known here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_OLD_CONTEXT, _LOW, _HIGH = 8192, 1.0, 4.0  # of the scaled rotary embeddings of Llama 3.1


def hidden_size(dim: int, multiple_of: int, multiplier: float | None) -> int:
    """The feed-forward size that Meta's code computes."""
    hidden = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple_of * ((hidden + multiple_of - 1) // multiple_of)


@torch.inference_mode()
def read_logits(folder: Path, ids: list[int]) -> Tensor:
    """The logits [tokens, vocabulary] of the model in `folder` after each of `ids`, in float32.

    Raises `ValueError` if a matrix has not the shape that `params.json` gives it.
    """
    params = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    weights = torch.load(
        folder / "consolidated.00.pth", map_location="cpu", mmap=True, weights_only=True
    )
    _check_shapes(weights, params)
    eps = float(params["norm_eps"])
    table = _rotation(params, len(ids))
    x = weights["tok_embeddings.weight"][torch.tensor(ids)].float()
    for layer in range(params["n_layers"]):
        part = {
            name.removeprefix(f"layers.{layer}.").removesuffix(".weight"): weight.float()
            for name, weight in weights.items()
            if name.startswith(f"layers.{layer}.")
        }
        x = x + _attention(_norm(x, part["attention_norm"], eps), part, params, table)
        y = _norm(x, part["ffn_norm"], eps)
        gate = functional.silu(y @ part["feed_forward.w1"].T)
        x = x + (gate * (y @ part["feed_forward.w3"].T)) @ part["feed_forward.w2"].T
    x = _norm(x, weights["norm.weight"].float(), eps)
    return torch.as_tensor(x @ weights["output.weight"].float().T)


def _check_shapes(weights: dict[str, Tensor], params: dict[str, Any]) -> None:
    dim, vocabulary = params["dim"], params["vocab_size"]
    hidden = hidden_size(dim, params["multiple_of"], params.get("ffn_dim_multiplier"))
    keys = dim // params["n_heads"] * params["n_kv_heads"]
    layer = {
        "attention.wq": (dim, dim),
        "attention.wk": (keys, dim),
        "attention.wv": (keys, dim),
        "attention.wo": (dim, dim),
        "feed_forward.w1": (hidden, dim),
        "feed_forward.w2": (dim, hidden),
        "feed_forward.w3": (hidden, dim),
        "attention_norm": (dim,),
        "ffn_norm": (dim,),
    }
    expected: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (vocabulary, dim),
        "output.weight": (vocabulary, dim),
        "norm.weight": (dim,),
    }
    for number in range(params["n_layers"]):
        expected |= {f"layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != expected:
        wrong = min(set(found.items()) ^ set(expected.items()))
        raise ValueError(f"{wrong[0]} is not as params.json has it: {found.get(wrong[0])}")


def _rotation(params: dict[str, Any], tokens: int) -> Tensor:
    """`freqs_cis` [tokens, 1, d/2] of Meta's code."""
    head_dim = params["dim"] // params["n_heads"]
    steps = torch.arange(0, head_dim, 2).float() / head_dim
    frequencies = 1.0 / (float(params.get("rope_theta", 10000.0)) ** steps)
    if params.get("use_scaled_rope"):
        frequencies = _scaled(frequencies, float(params.get("rope_scaling_factor", 8.0)))
    angles = torch.outer(torch.arange(tokens).float(), frequencies)
    return torch.polar(torch.ones_like(angles), angles)[:, None]


def _scaled(frequencies: Tensor, factor: float) -> Tensor:
    wavelengths = 2 * math.pi / frequencies
    smooth = ((_OLD_CONTEXT / wavelengths - _LOW) / (_HIGH - _LOW)).clamp(0, 1)
    return (1 - smooth) * frequencies / factor + smooth * frequencies


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def _rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate neighbours of `x` [tokens, heads, d] by `table`."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table).flatten(2)


def _attention(x: Tensor, part: dict[str, Tensor], params: dict[str, Any], table: Tensor) -> Tensor:
    tokens, heads = x.shape[0], params["n_heads"]
    kv_heads = params.get("n_kv_heads") or heads
    queries = _rotate((x @ part["attention.wq"].T).view(tokens, heads, -1), table)
    keys = _rotate((x @ part["attention.wk"].T).view(tokens, kv_heads, -1), table)
    values = (x @ part["attention.wv"].T).view(tokens, kv_heads, -1)
    keys, values = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (keys, values))
    scores = torch.einsum("qhd,khd->hqk", queries, keys) / math.sqrt(queries.shape[-1])
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    shares = scores.masked_fill(future, -math.inf).softmax(-1)
    out = torch.einsum("hqk,khd->qhd", shares, values).reshape(tokens, -1)
    return out @ part["attention.wo"].T
