"""Load the base model with its tokenizer, and check that they fit together."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from config import ModelSettings
from inference.adapters import AdapterRegistry, check_prompt_format
from inference.base_model import ModelSource, Progress, find_base_model
from inference.merged_base import find_adapter, merge, merged_fingerprint
from inference.prompt_format import PromptFormat
from inference.types import InferenceError, Message, ModelInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model in evaluation mode, and all that is needed to talk with it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt_format: PromptFormat
    end_ids: frozenset[int]
    info: ModelInfo


def load_model(
    settings: ModelSettings,
    models_dir: Path,
    *,
    adapters: AdapterRegistry | None = None,
    on_progress: Progress = log.info,
) -> LoadedModel:
    """Load what `model.base` names, with `model.merge_adapter` from `adapters` merged into it.

    Raises `InferenceError` in one sentence if it is missing, is not a causal language model, does
    not fit its tokenizer, or does not fit into memory.
    """
    source = find_base_model(settings.base, models_dir, on_progress)
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    merged = None
    if settings.merge_adapter and adapters is not None:
        if settings.quantization != "none":
            raise InferenceError(
                "model.merge_adapter needs weights that are not quantised; set model.quantization"
                " to none."
            )
        merged = find_adapter(settings.merge_adapter, adapters, source.fingerprint)
    on_progress(f"Loading {source.name}.")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(source.location, **_gguf(source))
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise InferenceError(
                f"model.base = {settings.base!r} is a {config.model_type} model, not a causal"
                " language model; choose a LLaMA."
            )
        tokenizer = AutoTokenizer.from_pretrained(source.location, **_gguf(source))
        model = _load_weights(source, settings, device, dtype)
        _check_family(settings, model)
    except InferenceError:
        raise
    except torch.OutOfMemoryError:
        raise InferenceError(
            f"{source.name} does not fit into the memory of {device}; set model.quantization to"
            " 8bit or 4bit, or choose a smaller model.base."
        ) from None
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        log.debug("The model could not be loaded.", exc_info=True)
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InferenceError(
            f"model.base = {settings.base!r} cannot be loaded: {first_line}"
        ) from None
    name, fingerprint = source.name, source.fingerprint
    if merged is not None:
        model = merge(model, merged)
        name = f"{name} with {merged.label} merged"
        fingerprint = merged_fingerprint(fingerprint, merged)
    rows = _check_vocabulary(settings, model, tokenizer)
    prompt_format = PromptFormat(tokenizer, settings.prompt_format)
    check_prompt_format(merged, prompt_format.name)
    end_ids = end_of_turn_ids(model, tokenizer, prompt_format)
    context = settings.context_length or int(getattr(config, "max_position_embeddings", 2048))
    kind = settings.quantization if settings.quantization != "none" else _short(dtype)
    summary = (
        f"{name} on {device} as {kind}: {rows} embedding rows for {len(tokenizer)} tokens,"
        f" context {context}, prompt format {prompt_format.name}, turns end at "
        + ", ".join(f"{tokenizer.convert_ids_to_tokens(i)} ({i})" for i in sorted(end_ids))
    )
    info = ModelInfo(
        name=name,
        fingerprint=fingerprint,
        device=str(device),
        dtype=kind,
        context_length=context,
        prompt_format=prompt_format.name,
        message_overhead=prompt_format.message_overhead,
        prompt_overhead=prompt_format.prompt_overhead,
        tokenizer_json=tokenizer.backend_tokenizer.to_str(),
        summary=summary,
        continues=True,
    )
    return LoadedModel(model, tokenizer, prompt_format, end_ids, info)


def _check_family(settings: ModelSettings, model: PreTrainedModel) -> None:
    if not hasattr(getattr(model, "model", None), "embed_tokens"):
        raise InferenceError(
            f"model.base = {settings.base!r} is a {model.config.model_type} model, not one of the"
            " LLaMA family; choose a LLaMA."
        )


def _check_vocabulary(
    settings: ModelSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> int:
    """The model's embedding rows; more than the tokenizer has entries is fine, fewer is not."""
    embeddings: Any = model.get_input_embeddings()
    rows = int(embeddings.weight.shape[0])
    if len(tokenizer) > rows:
        raise InferenceError(
            f"The tokenizer of {settings.base!r} has {len(tokenizer)} entries but the model only"
            f" {rows} embedding rows; they do not belong together."
        )
    return rows


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device, else Apple's, else the CPU.

    Raises `InferenceError` if a device is asked for that this machine or this torch lacks.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise InferenceError(
            f"model.device = {wanted!r}, but torch finds {torch.cuda.device_count()} CUDA devices"
            " here; set it to auto or install a torch built for your GPU."
        )
    return device


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is what the device computes fastest without losing quality."""
    if wanted != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def quantization_config(kind: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """bitsandbytes' settings for `model.quantization`; None for `none`."""
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    if kind == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return None


def end_of_turn_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> frozenset[int]:
    """Every token that ends a reply: of the generation config, the tokenizer and the template."""
    ids: set[int] = set()
    for value in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        ids.update(value if isinstance(value, Iterable) else [] if value is None else [value])
    # What the template writes right after a reply; only a special token can end a turn by itself.
    chat = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    text = prompt_format.render(chat, reply=False)
    said, _, rest = text.rpartition("b")  # a template may leave replies out
    after = tokenizer(rest.lstrip(), add_special_tokens=False)["input_ids"] if said else []
    if after and after[0] in tokenizer.all_special_ids:
        ids.add(after[0])
    return frozenset(ids)


def _load_weights(
    source: ModelSource, settings: ModelSettings, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    options: dict[str, Any] = _gguf(source)
    if quantization := quantization_config(settings.quantization, dtype):
        options["quantization_config"] = quantization
    if device.type != "cpu" or quantization:
        options["device_map"] = {"": device}
    if not source.gguf_file:
        options["use_safetensors"] = True
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        source.location, dtype=dtype, **options
    )
    model.eval()
    return model


def _gguf(source: ModelSource) -> dict[str, Any]:
    return {"gguf_file": source.gguf_file} if source.gguf_file else {}


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
