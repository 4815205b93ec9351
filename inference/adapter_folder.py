"""One version of an adapter on disk: its files, its card, and what makes it unusable.

The folder holds PEFT's `adapter_config.json` and `adapter_model.safetensors`, and `troupe.json`
beside them. It never changes after it was published.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config import PromptFormatName
from inference.types import InferenceError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "troupe.json"
OWN_FORMAT = "tokenizer"  # the name under which a tokenizer's own template is known
_SOFT_PROMPT = "PROMPT_TUNING"  # as PEFT calls it
_PICKLES = ("adapter_model.bin", "pytorch_model.bin", "adapter_model.pt", "adapter_model.pth")
_FORMATS = {*get_args(PromptFormatName), OWN_FORMAT}


class AdapterError(InferenceError):
    """An adapter that cannot be used; the message is one sentence that says why."""


class AdapterCard(BaseModel):
    """`troupe.json`: where an adapter came from and what it needs."""

    model_config = ConfigDict(extra="allow")

    base_model: str
    base_fingerprint: str
    prompt_format: str
    weights_hash: str  # as `weights_hash` computes it
    data_hash: str = ""
    git_commit: str = ""
    created_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    note: str = ""
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """One published version."""

    name: str
    version: int
    folder: Path
    promoted: bool
    card: AdapterCard

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS_FILE


def check_folder(folder: Path, label: str, base_fingerprint: str | None) -> AdapterCard:
    """Raise `AdapterError` unless `folder` is an adapter for the model of `base_fingerprint`."""
    if not (folder / WEIGHTS_FILE).is_file():
        if pickle := next((name for name in _PICKLES if (folder / name).exists()), None):
            raise AdapterError(
                f"Adapter {label} holds {pickle}, a pickle file, which can run code when it is"
                f" loaded; convert it to {WEIGHTS_FILE}."
            )
        raise AdapterError(f"Adapter {label} has no {WEIGHTS_FILE}; train or copy it again.")
    if not (folder / CONFIG_FILE).is_file():
        raise AdapterError(f"Adapter {label} has no {CONFIG_FILE}; train or copy it again.")
    try:
        card = AdapterCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except FileNotFoundError:
        raise AdapterError(
            f"Adapter {label} has no {CARD_FILE}, which says what base model it is for; publish it"
            " with python -m finetune."
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "the file"
        raise AdapterError(f"{CARD_FILE} of adapter {label}: {key}: {problem['msg']}.") from None
    if base_fingerprint and card.base_fingerprint != base_fingerprint:
        raise AdapterError(
            f"Adapter {label} was made for another base model ({card.base_model}); train one for"
            " the model in use."
        )
    return card


def read_settings(info: AdapterInfo) -> dict[str, Any]:
    """PEFT's settings of an adapter; raises `AdapterError` if they cannot be read."""
    try:
        settings = json.loads((info.folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"{CONFIG_FILE} of adapter {info.label} cannot be read: {error}."
        ) from None
    if not isinstance(settings, dict):
        raise AdapterError(f"{CONFIG_FILE} of adapter {info.label} is not a table of settings.")
    return settings


def is_soft_prompt(info: AdapterInfo) -> bool:
    """Whether it is embeddings before the prompt, not a change of the weights."""
    return bool(read_settings(info).get("peft_type") == _SOFT_PROMPT)


def check_prompt_format(adapter: AdapterInfo | None, serving: str) -> None:
    """Raise `AdapterError` if `adapter` learnt another prompt format than the one `serving`.

    Formats that are not named here (a remote server's own) cannot be compared.
    """
    if adapter is None or serving not in _FORMATS or adapter.card.prompt_format == serving:
        return
    wanted = adapter.card.prompt_format
    value = "auto" if wanted == OWN_FORMAT else wanted
    raise AdapterError(
        f"Adapter {adapter.label} was trained with the prompt format {wanted}, not {serving}; set"
        f' model.prompt_format to "{value}" or train it again.'
    )


def weights_hash(folder: Path) -> str:
    """sha256 of the weights file, the identity of an adapter version."""
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
