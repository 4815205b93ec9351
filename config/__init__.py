"""Every setting of the project, read from `config.toml` and checked before anything starts.

One class per section of the file. A field that the file leaves out has the default given here, so
an empty file is a valid configuration. Secrets are not settings: the Discord token comes from the
environment or from `.env`.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from config.learning import (
    FinetuneSettings,
    PrepareSettings,
)
from config.model import (
    InferenceSettings,
    ModelSettings,
    PathSettings,
    PromptFormatName,
    RemoteSettings,
)
from config.patterns import MEANINGS
from config.retraining import (
    CanarySettings,
    GateSettings,
    RetrainSettings,
    ScheduleSettings,
)
from config.safety import LimitSettings, PrivacySettings
from config.sampling import (
    DRY_BREAKERS,
    MOST_BREAKERS,
    DryAllowedLength,
    DryBase,
    DryMultiplier,
    MaxNewTokens,
    MinP,
    NoRepeatNgram,
    Penalty,
    RepetitionPenalty,
    SamplingSettings,
    SequenceBreakers,
    StopStrings,
    Temperature,
    TopK,
    TopP,
)
from config.section import (
    Section,
)
from config.talking import (
    BotSettings,
    DatabaseSettings,
    DiscordSettings,
    MemorySettings,
    PromptSettings,
)
from config.watching import LogSettings, MetricsSettings

DEFAULT_PATH = Path(__file__).parent.with_name("config.toml")


class ConfigError(Exception):
    """The configuration cannot be used; the message is one sentence that names file and key."""


class Config(Section):
    paths: PathSettings = PathSettings()
    model: ModelSettings = ModelSettings()
    inference: InferenceSettings = InferenceSettings()
    remote: RemoteSettings = RemoteSettings()
    sampling: SamplingSettings = SamplingSettings()
    prompt: PromptSettings = PromptSettings()
    memory: MemorySettings = MemorySettings()
    bot: BotSettings = BotSettings()
    privacy: PrivacySettings = PrivacySettings()
    limits: LimitSettings = LimitSettings()
    discord: DiscordSettings = DiscordSettings()
    database: DatabaseSettings = DatabaseSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    prepare: PrepareSettings = PrepareSettings()
    retrain: RetrainSettings = RetrainSettings()
    gate: GateSettings = GateSettings()
    canary: CanarySettings = CanarySettings()
    schedule: ScheduleSettings = ScheduleSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """Where `load` found it, for processes that are to have the same; None: nowhere."""
        return self._file

    @property
    def database_file(self) -> Path:
        return self.paths.data / self.database.file

    @property
    def adapters_dir(self) -> Path:
        return self.paths.data / "adapters"

    @property
    def models_dir(self) -> Path:
        return self.paths.data / "models"

    @property
    def retraining_dir(self) -> Path:
        return self.paths.data / "retraining"


def load(path: Path | str | None = None) -> Config:
    """Read the configuration file; relative paths in it are relative to its folder.

    Raises `ConfigError` (one sentence naming file and key) for a missing file, invalid TOML, an
    unknown key, a wrong type or a value out of range.
    """
    file = Path(path) if path is not None else DEFAULT_PATH
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file {file}; name one with --config."
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"The configuration file {file} cannot be read: {reason}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The configuration file {file} is not UTF-8 text (byte {error.start})."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from None
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error)}") from None
    root = file.resolve().parent
    paths = PathSettings(data=root / config.paths.data, personas=root / config.paths.personas)
    replay = config.retrain.replay and str(root / config.retrain.replay)
    suite = root / config.retrain.suite  # a file of that name, if there is one
    files = {"replay": replay, **({"suite": str(suite)} if suite.is_file() else {})}
    retrain = config.retrain.model_copy(update=files)
    config = config.model_copy(update={"paths": paths, "retrain": retrain})
    config._file = file.resolve()
    return config


def explain(error: ValidationError) -> str:
    """The first problem of `error` as one sentence that begins with the setting's name."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys()
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        return f"{key} is not a known setting{hint}"
    return f"{key} = {problem['input']!r} is not usable: {_reason(key, problem)}."


def _reason(key: str, problem: ErrorDetails) -> str:
    """What pydantic found wrong, in words that need no knowledge of it."""
    if problem["type"] in ("model_type", "dict_type"):
        return f"it must be a section, which begins with the line [{key}]"
    if problem["type"] == "path_type":
        return "it must be a text with a path"
    pattern = problem.get("ctx", {}).get("pattern")
    if pattern in MEANINGS:
        return MEANINGS[pattern]
    return problem["msg"][0].lower() + problem["msg"][1:]


def _known_keys() -> list[str]:
    keys: list[str] = []
    for section, field in Config.model_fields.items():
        keys.append(section)
        kind: Any = field.annotation
        keys += [f"{section}.{name}" for name in kind.model_fields]
    return keys


__all__ = [
    "DEFAULT_PATH",
    "DRY_BREAKERS",
    "MOST_BREAKERS",
    "BotSettings",
    "CanarySettings",
    "Config",
    "ConfigError",
    "DatabaseSettings",
    "DiscordSettings",
    "DryAllowedLength",
    "DryBase",
    "DryMultiplier",
    "FinetuneSettings",
    "GateSettings",
    "InferenceSettings",
    "LimitSettings",
    "LogSettings",
    "MaxNewTokens",
    "MemorySettings",
    "MetricsSettings",
    "MinP",
    "ModelSettings",
    "NoRepeatNgram",
    "PathSettings",
    "Penalty",
    "PrepareSettings",
    "PrivacySettings",
    "PromptFormatName",
    "PromptSettings",
    "RemoteSettings",
    "RepetitionPenalty",
    "RetrainSettings",
    "SamplingSettings",
    "ScheduleSettings",
    "Section",
    "SequenceBreakers",
    "StopStrings",
    "Temperature",
    "TopK",
    "TopP",
    "explain",
    "load",
]
