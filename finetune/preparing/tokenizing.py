"""The configured model's tokenizer without its weights, which take minutes for a large model."""

from __future__ import annotations

import sys

from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from config import Config, FinetuneSettings
from finetune.preparing.pipeline import Tokens
from inference.base_model import find_base_model
from inference.prompt_format import PromptFormat
from inference.types import InferenceError


def configured_tokens(config: Config, settings: FinetuneSettings) -> Tokens:
    """What the tokenizer of `model.base` makes of texts.

    Raises `InferenceError` if there is no such model or its tokenizer cannot be read.
    """
    source = find_base_model(config.model.base, config.models_dir, _say)
    place = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    transformers_logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **place)
    except (OSError, ValueError, ImportError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InferenceError(
            f"The tokenizer of model.base = {config.model.base!r} cannot be loaded: {first_line}"
        ) from None

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Tokens(count, PromptFormat(tokenizer, config.model.prompt_format), settings)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
