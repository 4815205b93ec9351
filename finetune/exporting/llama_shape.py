"""The shape of a LLaMA, for the formats that know no other architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from finetune.errors import InputError
from inference.engine.rotary import pair_rows

_SAME_LAYERS = ("llama", "mistral")  # model types of the same layers and the same names


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Read from a model's configuration and weights, never assumed."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int  # rows of the embeddings
    context: int
    norm_eps: float
    rope: dict[str, Any]  # as in transformers' `rope_parameters`
    biases: bool


def read_shape(model: PreTrainedModel, target: str) -> LlamaShape:
    """The shape of `model`; raises `InputError` if `target`, a format's name, cannot hold it."""
    config: Any = model.config
    if config.model_type not in _SAME_LAYERS:
        raise InputError(
            f"{target} holds only LLaMA models, and this is a {config.model_type} model; export it"
            " with --format huggingface and convert that with the model's own tools."
        )
    heads = int(config.num_attention_heads)
    embeddings: Any = model.get_input_embeddings()
    return LlamaShape(
        hidden=int(config.hidden_size),
        intermediate=int(config.intermediate_size),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(config.num_key_value_heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        vocabulary=int(embeddings.weight.shape[0]),
        context=int(config.max_position_embeddings),
        norm_eps=float(config.rms_norm_eps),
        rope=dict(config.rope_parameters),
        biases=any(name.endswith(".bias") for name in model.state_dict()),
    )


def paired_weights(model: PreTrainedModel, shape: LlamaShape) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in transformers; queries and keys with their rotated pairs side by
    side, as Meta's code and llama.cpp rotate them (transformers rotates halves).
    """
    for name, weight in model.state_dict().items():
        if ".q_proj." in name or ".k_proj." in name:
            weight = pair_rows(weight, shape.head_dim)
        yield name, weight.detach()
