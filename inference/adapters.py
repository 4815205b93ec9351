"""Adapters on disk: names, versions, and which version a name stands for.

An adapter version is the folder `NAME/VERSION/` with PEFT's `adapter_config.json` and
`adapter_model.safetensors`, and `troupe.json` beside them. It never changes after it was published.
The file `NAME/current` holds the promoted version; replacing that file is the whole promotion, so a
reader sees the old version or the new one and nothing between.

One adapter comes with the project, for the embedded model: version 0 of `default`, which the name
stands for until another is promoted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config import PromptFormatName
from inference.types import InferenceError

BASE = "base"
DEFAULT = "default"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
SHIPPED = Path(__file__).with_name("shipped_adapter")
SHIPPED_VERSION = 0
CARD_FILE = "troupe.json"
_SOFT_PROMPT = "PROMPT_TUNING"  # as PEFT calls it
_CURRENT_FILE = "current"
_PICKLES = ("adapter_model.bin", "pytorch_model.bin", "adapter_model.pt", "adapter_model.pth")
OWN_FORMAT = "tokenizer"  # the name under which a tokenizer's own template is known
_FORMATS = {*get_args(PromptFormatName), OWN_FORMAT}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


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


class AdapterRegistry:
    """The adapters under one folder. Every call reads the disk, so a promotion is seen at once."""

    def __init__(
        self,
        folder: Path,
        elsewhere: Collection[str] = (),
        *,
        shipped: Path | None = SHIPPED,
    ) -> None:
        """`elsewhere` are names that a remote server knows; there is nothing of them here.

        `shipped` is the folder of version 0 of `default`.
        """
        self._folder = folder
        self._shipped = shipped if shipped is not None and shipped.is_dir() else None
        self._elsewhere = frozenset(elsewhere) - {BASE, DEFAULT}

    def names(self) -> list[str]:
        """`base`, `default`, then every name that has a published version or is elsewhere."""
        found = {
            entry.name
            for entry in (self._folder.iterdir() if self._folder.is_dir() else ())
            if entry.name not in (BASE, DEFAULT) and self.versions(entry.name)
        }
        return [BASE, DEFAULT, *sorted(found | self._elsewhere)]

    def versions(self, name: str) -> list[int]:
        """The published versions of `name`, oldest first, after the one that was shipped."""
        shipped = [SHIPPED_VERSION] if name == DEFAULT and self._shipped else []
        folder = self._folder / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return shipped
        return shipped + sorted(
            int(entry.name) for entry in folder.iterdir() if re.fullmatch(r"[1-9]\d*", entry.name)
        )

    def list(self, base_fingerprint: str | None = None) -> list[AdapterInfo]:
        """Every readable version, by name and version; only those of one base model if given."""
        found: list[AdapterInfo] = []
        for name in self.names():
            for version in self.versions(name):
                try:
                    found.append(self.resolve_version(name, version, base_fingerprint))
                except AdapterError:
                    continue  # `resolve` tells whoever asks for it why it cannot be used
        return found

    def resolve(self, name: str, base_fingerprint: str | None = None) -> AdapterInfo | None:
        """The version that `name` (`pirate`, `pirate@3`, `base`, `default`) stands for now.

        None where there is no adapter here: `base`, `default` while nothing has been promoted to
        it and the shipped one is not for this model, and what is elsewhere.
        Raises `AdapterError` for anything that cannot be used with the model of
        `base_fingerprint`.
        """
        if name == BASE or name in self._elsewhere:
            return None
        stem, _, wanted = name.partition("@")
        if not _NAME.fullmatch(stem) or (wanted and not re.fullmatch(r"0|[1-9]\d{0,8}", wanted)):
            raise AdapterError(
                f"{name!r} is not an adapter's name; names are lower-case letters, digits, - and _,"
                " with @ and a number for one version."
            )
        if stem == BASE:
            raise AdapterError("The base model has no versions; its adapter is called base.")
        versions = self.versions(stem)
        if not versions:
            if stem == DEFAULT and not wanted:
                return None
            known = ", ".join(self.names())
            raise AdapterError(f"There is no adapter {stem!r}; there are {known}.")
        if wanted and int(wanted) not in versions:
            known = ", ".join(map(str, versions))
            raise AdapterError(f"Adapter {stem!r} has no version {wanted}; it has {known}.")
        version = int(wanted) if wanted else self.promoted(stem)
        if version == SHIPPED_VERSION and not wanted and not self._ships_for(base_fingerprint):
            return None
        return self.resolve_version(stem, version, base_fingerprint)

    def _ships_for(self, base_fingerprint: str | None) -> bool:
        """Whether the shipped adapter was made for that model."""
        if base_fingerprint is None:
            return True
        folder = self.folder_of(DEFAULT, SHIPPED_VERSION)
        return check_folder(folder, DEFAULT, None).base_fingerprint == base_fingerprint

    def folder_of(self, name: str, version: int) -> Path:
        """Where a version lies, if it exists."""
        if name == DEFAULT and version == SHIPPED_VERSION and self._shipped is not None:
            return self._shipped
        return self._folder / name / str(version)

    def promoted(self, name: str) -> int:
        """The version that the bare name stands for: the promoted one, else the newest."""
        versions = self.versions(name)
        try:
            current = int((self._folder / name / _CURRENT_FILE).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            current = -1  # no promotion yet, or a torn file: the newest version serves
        return current if current in versions else versions[-1]

    def resolve_version(
        self, name: str, version: int, base_fingerprint: str | None = None
    ) -> AdapterInfo:
        """One version, checked as `check_folder` does."""
        folder = self.folder_of(name, version)
        card = check_folder(folder, f"{name}@{version}", base_fingerprint)
        return AdapterInfo(name, version, folder, self.promoted(name) == version, card)

    def publish(self, staging: Path, name: str, *, promote: bool = True) -> AdapterInfo:
        """Move the finished adapter folder `staging` into place as the next version of `name`.

        `staging` must be on the same file system. Raises `AdapterError` if it is not a usable
        adapter or the name cannot be taken; then nothing has changed.
        """
        check_name(name)
        check_folder(staging, name, None)
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True)
        version = max(self.versions(name), default=0) + 1
        while True:
            try:
                staging.rename(home / str(version))
                break
            except OSError:
                if not (home / str(version)).exists():
                    raise
                version += 1  # another training published meanwhile
        if promote:
            self.promote(name, version)
        return self.resolve_version(name, version)

    def promote(self, name: str, version: int) -> None:
        """Let `name` stand for `version` from now on, in one atomic step."""
        self.resolve_version(name, version)
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True)
        draft = home / f".{_CURRENT_FILE}.{os.getpid()}"
        with draft.open("w", encoding="ascii") as file:
            file.write(str(version))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(home / _CURRENT_FILE)

    def staging_folder(self, name: str) -> Path:
        """A fresh empty folder that `publish` can move into place; leading dots hide it."""
        check_name(name)
        folder = self._folder / name / f".staging-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def check_name(name: str) -> None:
    """Raise `AdapterError` unless a new adapter may be called `name`."""
    if not _NAME.fullmatch(name):
        raise AdapterError(
            f"{name!r} cannot be an adapter's name; use lower-case letters, digits, - and _,"
            " 64 at most."
        )
    if name == BASE:
        raise AdapterError("The name base always means the model without adapter; choose another.")


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
