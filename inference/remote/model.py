"""What is known of a model that is served elsewhere: from its server, and from files here."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Config
from inference.base_model import (
    EMBEDDED,
    embedded_gguf,
    find_base_model,
    fingerprint,
)
from inference.remote.errors import RemoteError
from inference.types import InferenceError, ModelInfo

log = logging.getLogger(__name__)

_CONTEXT = 4096  # where nobody says: what every server of the last years can do
# Tokens that templates add, at most: a default system text of some, markers of all.
_PROMPT_OVERHEAD = 64
_MESSAGE_OVERHEAD = 8


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """What this machine has of the model; both are empty if nothing."""

    fingerprint: str = ""
    tokenizer_json: str = ""

    def special_texts(self) -> frozenset[str]:
        """The special tokens of the tokenizer, of more than one character."""
        tokens = (
            json.loads(self.tokenizer_json).get("added_tokens", ()) if self.tokenizer_json else ()
        )
        texts = (str(token["content"]) for token in tokens if token.get("special"))
        return frozenset(text for text in texts if len(text.strip()) > 1)


def find_local_copy(config: Config) -> LocalCopy:
    """Look for `model.base` among the files here, where it says what the servers serve.

    It does so if it was set, or if the servers load adapters that were trained on it. Downloads
    nothing and imports no torch; takes up to a second.
    """
    base = config.model.base
    given = config.remote.base_fingerprint
    if base == EMBEDDED and not config.remote.load_adapters:
        return LocalCopy(given)
    try:
        found, folder = _find(base, config.models_dir)
    except (InferenceError, OSError) as error:
        log.info("Nothing of the served model is here, so its adapters are not checked: %s", error)
        return LocalCopy(given)
    file = folder / "tokenizer.json"
    return LocalCopy(given or found, file.read_text(encoding="utf-8") if file.is_file() else "")


def _find(base: str, models_dir: Path) -> tuple[str, Path]:
    """Fingerprint and folder of a model that is already here."""
    if base == EMBEDDED and not any(models_dir.glob(f"{EMBEDDED}-*/model.safetensors")):
        return fingerprint([embedded_gguf()]), models_dir  # unpacking it takes torch
    if base != EMBEDDED and not Path(base).expanduser().exists() and base.count("/") == 1:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError

        try:
            base = snapshot_download(base, local_files_only=True)
        except HFValidationError as error:
            raise InferenceError(str(error)) from None
    source = find_base_model(base, models_dir, log.info)
    return source.fingerprint, Path(source.location)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The base model as a server lists it."""

    name: str
    context_length: int  # 0 if the server does not say
    is_vllm: bool


def choose_model(server: str, wanted: str, entries: list[dict[str, Any]]) -> ServedModel:
    """The entry for `remote.model`, or the first that is no adapter.

    Raises `RemoteError` if there is none.
    """
    if wanted and not entries:
        return ServedModel(wanted, 0, is_vllm=False)
    names = [str(entry["id"]) for entry in entries]
    if not names:
        raise RemoteError(f"The server {server} lists no model; set remote.model to its name.")
    if wanted and wanted not in names:
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RemoteError(f"The server {server} has no model {wanted!r}; it has {shown}.")
    bases = [entry for entry in entries if not entry.get("parent")] or entries
    entry = entries[names.index(wanted)] if wanted else bases[0]
    length = entry.get("max_model_len") or entry.get("context_length")
    return ServedModel(
        str(entry["id"]),
        length if isinstance(length, int) and length > 0 else 0,
        is_vllm=entry.get("owned_by") == "vllm",
    )


def describe(config: Config, server: str, served: ServedModel, local: LocalCopy) -> ModelInfo:
    """What the rest of the project knows of the model."""
    context = config.remote.context_length or served.context_length or _CONTEXT
    counting = "its own tokenizer" if local.tokenizer_json else "estimated token counts"
    return ModelInfo(
        name=served.name,
        fingerprint=local.fingerprint,
        device=server,
        dtype="remote",
        context_length=context,
        prompt_format="the server's",
        message_overhead=_MESSAGE_OVERHEAD,
        prompt_overhead=_PROMPT_OVERHEAD,
        tokenizer_json=local.tokenizer_json,
        summary=f"{served.name} at {server}, context {context}, {counting}",
    )
