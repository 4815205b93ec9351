"""A LoRA adapter by itself as GGUF, for llama.cpp's `--lora`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

from finetune.errors import InputError
from finetune.exporting.merging import Merged, logits
from finetune.exporting.verification import Verification, verify
from inference.adapters import AdapterInfo
from inference.engine.rotary import pair_rows

_SIDES = (".lora_A.weight", ".lora_B.weight")
_ROTATED = (".q_proj", ".k_proj")
_LAYERS = 1024  # more than any model has; only names are looked up


def check_adapter(adapter: AdapterInfo) -> None:
    """Raise `InputError` if llama.cpp cannot add `adapter` to a model."""
    settings = PeftConfig.from_pretrained(str(adapter.folder))
    if not isinstance(settings, LoraConfig):
        raise InputError(
            f"Adapter {adapter.label} is no LoRA adapter; --format gguf-lora takes one."
        )
    for name in load_file(adapter.weights):
        if not name.endswith(_SIDES) or "lm_head" in name or "embed_tokens" in name:
            raise InputError(
                f"llama.cpp's adapters are two matrices for each linear layer, and {adapter.label}"
                f" also holds {name}; merge it with --format gguf."
            )


def file_name(dtype: torch.dtype) -> str:
    """`adapter-F16.gguf` or `adapter-F32.gguf`."""
    return f"adapter-{'F32' if dtype == torch.float32 else 'F16'}.gguf"


def write_lora(adapter: AdapterInfo, config: Any, file: Path, dtype: torch.dtype) -> Path:
    """Convert `adapter`, made for a LLaMA of `config`, to the GGUF `file` in float16 or float32."""
    settings: Any = PeftConfig.from_pretrained(str(adapter.folder))
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, _LAYERS)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(settings.lora_alpha))
    for name, tensor in load_file(adapter.weights).items():
        module, side, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        if side == "lora_B":
            tensor = tensor.float() * _strength(settings, module, tensor.shape[1])
            if module.endswith(_ROTATED):
                tensor = pair_rows(tensor, head_dim)  # llama.cpp rotates neighbours
        target = f"{names.get_name(module)}.weight.{side.lower()}"
        writer.add_tensor(target, tensor.to(dtype).contiguous().numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return file


def read_back(merged: Merged, file: Path, dtype: torch.dtype) -> Verification:
    """Take what `file` adds away from the merged model, which must leave the base.

    Raises `TrainingError` if it leaves anything else. The model of `merged` is used up.
    """
    model = merged.model
    heads = {
        ".q_proj": model.config.num_attention_heads,
        ".k_proj": model.config.num_key_value_heads,
    }
    reader = gguf.GGUFReader(file)
    tensors = {tensor.name: torch.tensor(tensor.data).float() for tensor in reader.tensors}
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    for name, module in model.named_modules():
        down = tensors.pop(f"{names.get_name(name)}.weight.lora_a", None)
        if down is None:
            continue
        up = tensors.pop(f"{names.get_name(name)}.weight.lora_b")
        change = up @ down * (alpha / down.shape[0])
        for rotated, count in heads.items():
            if name.endswith(rotated):
                change = change.view(count, -1, 2, change.shape[1]).transpose(1, 2)
                change = change.reshape(up.shape[0], -1)
        with torch.no_grad():
            module.weight -= change.to(module.weight)
    if tensors:
        raise InputError(f"The exported adapter names no layer of this model: {min(tensors)}.")
    return verify(merged, logits(model, merged.ids), dtype, expected=merged.base)


def _strength(settings: Any, module: str, rank: int) -> float:
    """What PEFT scales by beyond the alpha / rank that llama.cpp computes."""
    pattern = settings.alpha_pattern or {}
    alpha = float(pattern.get(get_pattern_key(pattern.keys(), module), settings.lora_alpha))
    scale = alpha / math.sqrt(rank) if settings.use_rslora else alpha / rank
    return scale * rank / float(settings.lora_alpha)
