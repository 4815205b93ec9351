"""A model as one GGUF file, as llama.cpp reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, LlamaFileType
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from finetune.errors import InputError
from finetune.exporting.gguf_tokenizer import add_tokenizer, check_tokenizer
from finetune.exporting.llama_shape import LlamaShape, paired_weights, read_shape
from finetune.exporting.merging import Merged, logits
from finetune.exporting.verification import Verification, verify, verify_tokens

_ARCHITECTURE = "llama"
_TYPES = {
    torch.float32: (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    torch.float16: (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    torch.bfloat16: (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
_ROPE_TYPES = ("default", "linear", "llama3")
_ROPE_FACTORS = "rope_freqs.weight"


def check(model: PreTrainedModel, tokenizer: Any, origin: Path | None) -> LlamaShape:
    """Raise `InputError` if llama.cpp cannot hold the model; returns its shape otherwise."""
    shape = read_shape(model, "GGUF export")
    kind = shape.rope.get("rope_type", "default")
    if kind not in _ROPE_TYPES:
        raise InputError(
            f"GGUF export does not know how this model stretches its positions ({kind}); export"
            " with --format huggingface and convert it with llama.cpp's convert_hf_to_gguf.py."
        )
    if shape.biases:
        raise InputError(
            "GGUF export knows no biases, and this model has some; export with --format huggingface"
            " and convert it with llama.cpp's convert_hf_to_gguf.py."
        )
    if origin is None:
        check_tokenizer(tokenizer)
    return shape


def file_name(dtype: torch.dtype) -> str:
    """`model-F16.gguf`: the type of the weights is in the name, as llama.cpp's users expect."""
    return f"model-{_TYPES[dtype][0].name}.gguf"


def write(merged: Merged, folder: Path, dtype: torch.dtype, origin: Path | None) -> None:
    """Write the model to one file in `folder`, matrices in `dtype` and vectors in float32.

    `origin` is the GGUF file that the base came from, if it did.
    """
    shape = check(merged.model, merged.tokenizer, origin)
    writer = gguf.GGUFWriter(folder / file_name(dtype), _ARCHITECTURE)
    try:
        _add_shape(writer, shape)
        writer.add_name(merged.name)
        writer.add_file_type(_TYPES[dtype][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_tokenizer(writer, merged.tokenizer, merged.end_ids, shape.vocabulary, origin)
        _write_tensors(writer, _tensors(merged.model, shape), dtype)
    finally:
        writer.close()


def read_back(merged: Merged, folder: Path, dtype: torch.dtype) -> Verification:
    """Load the file with transformers' own reader and compare; `TrainingError` if it differs."""
    file = file_name(dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    verify_tokens(merged, tokenizer(merged.text)["input_ids"])
    model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    for tensor in gguf.GGUFReader(folder / file).tensors:
        if tensor.name == _ROPE_FACTORS:  # transformers leaves them out
            model.model.rotary_emb.inv_freq /= torch.tensor(tensor.data)
    return verify(merged, logits(model, merged.ids), dtype)


def _add_shape(writer: gguf.GGUFWriter, shape: LlamaShape) -> None:
    writer.add_type("model")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_freq_base(float(shape.rope.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(shape.vocabulary)


def _tensors(model: PreTrainedModel, shape: LlamaShape) -> dict[str, Tensor]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape.layers)
    tensors: dict[str, Tensor] = {}
    if (factors := _rope_factors(model, shape)) is not None:
        tensors[_ROPE_FACTORS] = factors
    for name, weight in paired_weights(model, shape):
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue  # llama.cpp takes the embeddings where there is no head
        tensors[names.get_name(name, try_suffixes=(".weight",))] = weight
    return tensors


def _rope_factors(model: Any, shape: LlamaShape) -> Tensor | None:
    """By what llama.cpp must divide each frequency [d/2]; None where nothing is stretched."""
    actual: Tensor = model.model.rotary_emb.inv_freq.detach().float().cpu()
    steps = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
    plain = 1.0 / float(shape.rope.get("rope_theta", 10000.0)) ** steps
    return None if torch.allclose(actual, plain, rtol=1e-5) else plain / actual


def _write_tensors(writer: gguf.GGUFWriter, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    """One tensor at a time, so that the model is not in memory twice."""
    for name, tensor in tensors.items():
        kind = _type(tensor, dtype)
        size = tensor.numel() * (4 if kind is GGMLQuantizationType.F32 else 2)
        writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors.values():
        plain = tensor.float().cpu().contiguous().numpy()
        writer.write_tensor_data(gguf.quantize(plain, _type(tensor, dtype)))


def _type(tensor: Tensor, dtype: torch.dtype) -> GGMLQuantizationType:
    """llama.cpp wants vectors in float32, whatever the matrices are in."""
    return _TYPES[dtype][0] if tensor.dim() > 1 else GGMLQuantizationType.F32
