"""Meta's own layout: `consolidated.00.pth` and `params.json`."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.errors import InputError
from finetune.exporting.llama_shape import LlamaShape, paired_weights, read_shape
from finetune.exporting.merging import Merged
from finetune.exporting.meta_reader import hidden_size, read_logits
from finetune.exporting.verification import Verification, verify

WEIGHTS = "consolidated.00.pth"
PARAMS = "params.json"
_NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")
_MULTIPLES = (256, 1024, 4096, 512, 2048, *(2**n for n in range(7, -1, -1)))
# Meta's code holds these numbers itself, and reads from the file only whether to use them.
_SCALED_ROPE = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def params(shape: LlamaShape) -> dict[str, Any]:
    """What `params.json` says of a model of this shape.

    Raises `InputError` in one sentence for what Meta's code cannot compute.
    """
    if shape.head_dim * shape.heads != shape.hidden:
        raise InputError(
            f"Meta's layout cannot hold {shape.heads} heads of {shape.head_dim} in a model of"
            f" {shape.hidden}: its code divides one by the other; use --format huggingface."
        )
    if shape.biases:
        raise InputError(
            "Meta's layout has no biases, and this model has some; use --format huggingface."
        )
    multiple_of, multiplier = feed_forward(shape.hidden, shape.intermediate)
    found: dict[str, Any] = {
        "dim": shape.hidden,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "n_kv_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "multiple_of": multiple_of,
        "norm_eps": shape.norm_eps,
        "rope_theta": float(shape.rope.get("rope_theta", 10000.0)),
    }
    if multiplier is not None:
        found["ffn_dim_multiplier"] = multiplier
    return found | _rope(shape.rope)


def feed_forward(hidden: int, intermediate: int) -> tuple[int, float | None]:
    """`multiple_of` and `ffn_dim_multiplier` with which Meta's formula gives `intermediate`."""
    for multiple in _MULTIPLES:
        if hidden_size(hidden, multiple, None) == intermediate:
            return multiple, None
    plain = int(2 * (4 * hidden) / 3)
    # Few digits first, since Meta's own files say 1.3; the last is exact for any size.
    rounded = [round(intermediate / plain, digits) for digits in range(1, 7)]
    for multiplier, multiple in itertools.product(
        (*rounded, (intermediate + 0.5) / plain), _MULTIPLES
    ):
        if hidden_size(hidden, multiple, multiplier) == intermediate:
            return multiple, multiplier
    raise AssertionError(f"no multiplier gives {intermediate} for {hidden}")


def check(merged_model: Any) -> LlamaShape:
    """Raise `InputError` if Meta's layout cannot hold the model; returns its shape otherwise."""
    shape = read_shape(merged_model, "Meta's layout")
    params(shape)
    return shape


def write(merged: Merged, folder: Path, dtype: torch.dtype) -> None:
    """Write the weights, their parameters and the tokenizer to `folder`.

    A head that shares its weights with the embeddings is written out, as Meta's code has no other.
    """
    shape = check(merged.model)
    weights: dict[str, Tensor] = {}
    for name, weight in paired_weights(merged.model, shape):
        weights[meta_name(name)] = weight.to(dtype).cpu().contiguous()
    weights.setdefault("output.weight", weights["tok_embeddings.weight"])
    # Not one storage for both: Meta's loaders may change one of them.
    if weights["output.weight"].data_ptr() == weights["tok_embeddings.weight"].data_ptr():
        weights["output.weight"] = weights["output.weight"].clone()
    with (folder / WEIGHTS).open("wb") as stream:
        torch.save(weights, stream)
    text = json.dumps(params(shape), indent=2)
    (folder / PARAMS).write_text(text + "\n", encoding="utf-8")
    merged.tokenizer.save_pretrained(folder)


def read_back(merged: Merged, folder: Path, dtype: torch.dtype) -> Verification:
    """Compute logits as Meta's code does, from the files alone; `TrainingError` if they differ."""
    return verify(merged, read_logits(folder, merged.ids), dtype)


def meta_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` → `layers.3.attention.wq.weight`."""
    if layer := _LAYER.fullmatch(name):
        return f"layers.{layer[1]}.{_NAMES[layer[2]]}.weight"
    return f"{_NAMES[name.removesuffix('.weight')]}.weight"


def _rope(rope: dict[str, Any]) -> dict[str, Any]:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return {}
    scaled = all(math.isclose(rope.get(key, 0), value) for key, value in _SCALED_ROPE.items())
    if kind != "llama3" or not scaled:
        raise InputError(
            f"Meta's layout cannot say how this model stretches its positions ({kind}); use"
            " --format huggingface."
        )
    return {"use_scaled_rope": True, "rope_scaling_factor": float(rope["factor"])}
