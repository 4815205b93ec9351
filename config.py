"""Every setting of the project, read from `config.toml` and checked before anything starts.

One class per section of the file. A field that the file leaves out has the default given here, so
an empty file is a valid configuration. Secrets are not settings: the Discord token comes from the
environment or from `.env`.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT_PATH = Path(__file__).with_name("config.toml")


class ConfigError(Exception):
    """The configuration cannot be used; the message is one sentence that names file and key."""


class Section(BaseModel):
    """Rules of all sections: unknown keys and wrong types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PathSettings(Section):
    data: Path = Field(Path("data"), strict=False, description="Database, adapters, models.")
    personas: Path = Field(
        Path("personas"), strict=False, description="Your own characters, beside the shipped cast."
    )


class ModelSettings(Section):
    base: str = Field(
        "embedded",
        min_length=1,
        description="`embedded`, a folder, a .gguf file or a hub id.",
    )
    quantization: Literal["none", "8bit", "4bit"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    prompt_format: Literal["auto", "alpaca", "llama2", "vicuna", "ziya", "chatml"] = "auto"
    context_length: int = Field(
        0,
        ge=0,
        description="Tokens of prompt and reply; 0: what the model was made for.",
    )


class InferenceSettings(Section):
    queue_size: int = Field(64, ge=1, description="Requests that may wait in all.")
    queue_per_user: int = Field(4, ge=1, description="Requests of one user that may wait.")
    deadline_seconds: float = Field(300.0, gt=0, description="Longest wait for the first word.")
    start_timeout_seconds: float = Field(
        600.0, gt=0, description="Longest load of the model before the worker counts as hung."
    )
    hang_timeout_seconds: float = Field(
        60.0, gt=0, description="Silence of a busy worker after which it is replaced."
    )


# The ranges of sampling, declared once: for the file here and for requests in `inference.types`.
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0, le=1000)]
MinP = Annotated[float, Field(ge=0, le=1)]
RepetitionPenalty = Annotated[float, Field(ge=1, le=2)]
MaxNewTokens = Annotated[int, Field(ge=1, le=4096)]
StopStrings = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=32)]


class SamplingSettings(Section):
    """Defaults for every channel."""

    temperature: Temperature = 0.8
    top_p: TopP = 0.9
    top_k: TopK = 0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.05
    max_new_tokens: MaxNewTokens = 220
    stop: Annotated[StopStrings, Field(strict=False)] = ()


class PromptSettings(Section):
    context_tokens: int = Field(
        2048, ge=256, description="Budget of prompt and reply; the model's own limit also holds."
    )
    history_messages: int = Field(
        200, ge=1, description="Most messages read from the database for one prompt."
    )


class BotSettings(Section):
    persona: str = Field("mirela", description="The character of channels that chose none.")
    adapter: str = Field("default", description="The adapter of channels that chose none.")
    mode: Literal["mention", "always"] = Field(
        "mention", description="When to answer in servers: when addressed, or every message."
    )
    catch_up_hours: float = Field(
        12.0, ge=0, description="After a restart, questions younger than this are still answered."
    )


class DiscordSettings(Section):
    api_url: str = Field("", description="REST root of a compatible server; empty: Discord.")
    gateway_url: str = Field("", description="Websocket of such a server; empty: Discord.")
    switch_permission: str = Field(
        "manage_channels", description="Discord permission needed to change a channel's settings."
    )
    edit_interval_seconds: float = Field(
        1.0, ge=1.0, description="Least time between two edits of a streaming reply."
    )
    catch_up_messages: int = Field(
        100, ge=0, description="Messages per channel read back after a restart."
    )


class DatabaseSettings(Section):
    file: str = Field("troupe.sqlite3", min_length=1, description="Name inside paths.data.")
    busy_timeout_seconds: float = Field(5.0, gt=0)


class FinetuneSettings(Section):
    """Defaults of `python -m finetune train`; each has a command-line option of the same name."""

    num_epochs: float = Field(3.0, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(8, ge=1)
    micro_batch_size: int = Field(4, ge=1)
    cutoff_len: int = Field(512, ge=32)
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target_modules: list[str] = [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    ]  # fmt: skip


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    messages: bool = Field(False, description="Also log what users and characters say.")


class Config(Section):
    paths: PathSettings = PathSettings()
    model: ModelSettings = ModelSettings()
    inference: InferenceSettings = InferenceSettings()
    sampling: SamplingSettings = SamplingSettings()
    prompt: PromptSettings = PromptSettings()
    bot: BotSettings = BotSettings()
    discord: DiscordSettings = DiscordSettings()
    database: DatabaseSettings = DatabaseSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    log: LogSettings = LogSettings()

    @property
    def database_file(self) -> Path:
        return self.paths.data / self.database.file

    @property
    def adapters_dir(self) -> Path:
        return self.paths.data / "adapters"

    @property
    def models_dir(self) -> Path:
        return self.paths.data / "models"


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
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from None
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(file, error)) from None
    root = file.resolve().parent
    paths = PathSettings(data=root / config.paths.data, personas=root / config.paths.personas)
    return config.model_copy(update={"paths": paths})


def _explain(file: Path, error: ValidationError) -> str:
    """The first problem of `error` as one sentence."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys()
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        return f"{file}: {key} is not a known setting{hint}"
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{file}: {key} = {problem['input']!r} is not usable: {reason}."


def _known_keys() -> list[str]:
    keys: list[str] = []
    for section, field in Config.model_fields.items():
        keys.append(section)
        kind: Any = field.annotation
        keys += [f"{section}.{name}" for name in kind.model_fields]
    return keys
