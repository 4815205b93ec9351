"""Models whose weights mean nothing: the shapes of LLaMA-7B and -13B, for measuring GPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "vocab_size": 512},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "vocab_size": 32000},
    "13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
            "num_attention_heads": 40, "vocab_size": 32000},
}  # fmt: skip


def random_llama(shape: str, device: torch.device, *, four_bit: bool) -> Any:
    """A LLaMA of the given shape in bfloat16 on a GPU, in float32 on a CPU; or in 4 bits.

    Layers are made and, where asked for, quantised one by one, so that no more memory is needed
    than the finished model has.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=4096, dtype=dtype)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    random = torch.Generator(device=device).manual_seed(0)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                made = _random_linear(child, device, dtype, random)
                keep = name == "lm_head" or not four_bit
                setattr(module, name, made if keep else _in_four_bits(made, device, dtype))
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_meta:  # norms and embeddings
                values = torch.ones(weight.shape, dtype=dtype, device=device)
                if weight.dim() > 1:
                    values.normal_(std=0.02, generator=random)
                setattr(module, name, nn.Parameter(values, requires_grad=False))
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    return model.eval()


def weight_bytes(model: Any) -> int:
    """Bytes that a step of one row reads: all weights but the embedding, of which it takes one."""
    embedding = model.model.embed_tokens.weight
    return sum(p.nbytes for p in model.parameters() if p is not embedding)


def _random_linear(
    plan: nn.Linear, device: torch.device, dtype: torch.dtype, random: torch.Generator
) -> nn.Linear:
    made = nn.Linear(plan.in_features, plan.out_features, False, device="meta")
    weight = torch.empty(plan.out_features, plan.in_features, dtype=dtype, device=device)
    weight.normal_(std=0.02, generator=random)
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def _in_four_bits(linear: nn.Linear, device: torch.device, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes as bnb

    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, False, compute_dtype=dtype, quant_type="nf4"
    )
    made.weight = bnb.nn.Params4bit(
        linear.weight.data.cpu(), requires_grad=False, quant_type="nf4", module=made
    )
    module: nn.Module = made.to(device)
    return module
