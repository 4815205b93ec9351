"""One export from start to end: read, merge, write, read again, compare."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config import Config, ModelSettings
from finetune.errors import InputError
from finetune.exporting.folder import check_folder, staged
from inference.adapters import BASE, AdapterInfo, AdapterRegistry
from inference.base_model import EMBEDDED, ModelSource, embedded_gguf, find_base_model

if TYPE_CHECKING:
    import torch

    from finetune.exporting.merging import Merged
    from finetune.exporting.verification import Verification

Format = Literal["huggingface", "meta", "gguf", "gguf-lora"]
DTYPES = ("float32", "float16", "bfloat16")
SHARD_SIZE = "5GB"
_SIZE = re.compile(r"[1-9]\d*(\.\d+)?[KMG]B")
_TEXT = 64 << 20  # room for tokenizer and configuration, in bytes


@dataclass(frozen=True, slots=True)
class Order:
    """What to export, and where to; `dtype` "auto" is the base's own, for GGUF 16 bits of it."""

    adapter: str
    format: Format
    output_dir: Path
    dtype: str = "auto"
    shard_size: str | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What lies in `folder`, and how it compares with base + adapter."""

    label: str
    folder: Path
    dtype: str
    verification: Verification

    def files(self) -> dict[str, int]:
        """Sizes in bytes, by name."""
        return {file.name: file.stat().st_size for file in sorted(self.folder.iterdir())}


def export(config: Config, order: Order) -> Exported:
    """Write base + adapter to `order.output_dir` and check it by loading it again.

    The folder appears when all is verified. Raises `InputError`, `InferenceError` and
    `TrainingError` in one sentence.
    """
    check_folder(order.output_dir, 0)
    _check_shards(order)
    _quiet()
    registry = AdapterRegistry(config.adapters_dir)
    adapter = _adapter(registry, order)
    source = find_base_model(config.model.base, config.models_dir, _say)
    from finetune.exporting.merging import merge_for_export
    from inference.model_loading import load_model

    loaded = load_model(
        _exact(config.model), config.models_dir, adapters=registry, on_progress=_say
    )
    if adapter is not None:
        registry.resolve(adapter.label, loaded.info.fingerprint)
    origin = _origin(config, source)
    _check_format(order, loaded.model, loaded.tokenizer, origin)
    dtype = _dtype(order, source)
    check_folder(order.output_dir, _bytes(order, loaded.model, adapter, dtype))
    merged = merge_for_export(loaded, adapter)
    with staged(order.output_dir) as folder:
        verification = _write(order, merged, adapter, folder, dtype, origin)
    label = BASE if adapter is None else adapter.label
    return Exported(label, order.output_dir, _short(dtype), verification)


def _write(
    order: Order,
    merged: Merged,
    adapter: AdapterInfo | None,
    folder: Path,
    dtype: torch.dtype,
    origin: Path | None,
) -> Verification:
    from finetune.exporting import gguf_lora, gguf_model, hugging_face, meta

    _say(f"Writing {merged.name} as {_short(dtype)}.")
    if order.format == "huggingface":
        hugging_face.write(merged, folder, dtype, order.shard_size or SHARD_SIZE)
        _say("Reading it back.")
        return hugging_face.read_back(merged, folder, dtype)
    if order.format == "meta":
        meta.write(merged, folder, dtype)
        _say("Reading it back.")
        return meta.read_back(merged, folder, dtype)
    if order.format == "gguf":
        gguf_model.write(merged, folder, dtype, origin)
        _say("Reading it back.")
        return gguf_model.read_back(merged, folder, dtype)
    assert adapter is not None
    file = folder / gguf_lora.file_name(dtype)
    gguf_lora.write_lora(adapter, merged.model.config, file, dtype)
    _say("Reading it back.")
    return gguf_lora.read_back(merged, file, dtype)


def _adapter(registry: AdapterRegistry, order: Order) -> AdapterInfo | None:
    from finetune.exporting.gguf_lora import check_adapter
    from finetune.exporting.merging import check_mergeable

    adapter = registry.resolve(order.adapter)
    if adapter is None:  # the base
        if order.format == "gguf-lora":
            raise InputError("The base has no adapter for --format gguf-lora; name an adapter.")
        return None
    check_mergeable(adapter)
    if order.format == "gguf-lora":
        check_adapter(adapter)
    return adapter


def _check_format(order: Order, model: Any, tokenizer: Any, origin: Path | None) -> None:
    """What the format cannot hold is said before the minutes that merging takes."""
    from finetune.exporting import gguf_model, meta
    from finetune.exporting.llama_shape import read_shape

    if order.format == "meta":
        meta.check(model)
    elif order.format == "gguf":
        gguf_model.check(model, tokenizer, origin)
    elif order.format == "gguf-lora":
        read_shape(model, "llama.cpp's adapter format")


def _check_shards(order: Order) -> None:
    if order.shard_size is None:
        return
    if order.format != "huggingface":
        raise InputError(f"--shard_size is for --format huggingface; {order.format} is one file.")
    if not _SIZE.fullmatch(order.shard_size):
        raise InputError(
            f"shard_size = {order.shard_size!r} is not a size; write 5GB, 500MB or the like."
        )


def _exact(model: ModelSettings) -> ModelSettings:
    """On the CPU and in float32, unless the configuration asks for something else by name."""
    changes = {"device": "cpu" if model.device == "auto" else model.device}
    if model.dtype == "auto":
        changes["dtype"] = "float32"
    return model.model_copy(update=changes)


def _origin(config: Config, source: ModelSource) -> Path | None:
    """The GGUF file that the base comes from, if it does."""
    if config.model.base == EMBEDDED:
        return embedded_gguf()
    return Path(source.location) / source.gguf_file if source.gguf_file else None


def _dtype(order: Order, source: ModelSource) -> torch.dtype:
    import torch
    from transformers import AutoConfig

    if order.dtype != "auto":
        chosen: torch.dtype = getattr(torch, order.dtype)
    else:
        gguf = {"gguf_file": source.gguf_file} if source.gguf_file else {}
        own = AutoConfig.from_pretrained(source.location, **gguf).dtype
        chosen = own if isinstance(own, torch.dtype) else torch.float16
        if order.format.startswith("gguf") and chosen == torch.float32:
            chosen = torch.float16
    if order.format == "gguf-lora" and chosen == torch.bfloat16:
        if order.dtype != "auto":
            raise InputError("--format gguf-lora takes --dtype float16 or float32.")
        chosen = torch.float16
    return chosen


def _bytes(order: Order, model: Any, adapter: AdapterInfo | None, dtype: torch.dtype) -> int:
    if order.format == "gguf-lora" and adapter is not None:
        return adapter.weights.stat().st_size
    numbers = sum(weight.numel() for weight in model.parameters())
    if order.format == "meta" and model.config.tie_word_embeddings:
        numbers += model.get_input_embeddings().weight.numel()
    return int(numbers * dtype.itemsize) + _TEXT


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _quiet() -> None:
    """Nothing on the terminal that a user cannot act on."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    for library in ("transformers", "peft", "bitsandbytes", "gguf", "torch"):
        logging.getLogger(library).setLevel(logging.ERROR)
