"""A PEFT adapter as llama.cpp reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf

from benchmarks.workload import adapter_tensors
from inference.adapters import CONFIG_FILE, AdapterInfo
from inference.engine.rotary import pair_rows

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(adapter: AdapterInfo, config: Any, file: Path) -> Path:
    """Convert `adapter`, made for a LLaMA of `config`, to a GGUF file in float16."""
    head_dim = config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    settings = json.loads((adapter.folder / CONFIG_FILE).read_text(encoding="utf-8"))
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    for name, tensor in adapter_tensors(adapter).items():
        # base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
        _, _, _, _, layer, block, module, side, _ = name.split(".")
        if side == "lora_B" and module in ("q_proj", "k_proj"):
            tensor = pair_rows(tensor, head_dim)  # llama.cpp rotates neighbours, as we do
        target = f"blk.{layer}.{_NAMES[f'{block}.{module}']}.weight.{side.lower()}"
        writer.add_tensor(target, tensor.half().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
