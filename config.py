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
from pydantic_core import ErrorDetails

DEFAULT_PATH = Path(__file__).with_name("config.toml")

_DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"
_FILE_NAME = r"^[^./\\\x00][^/\\\x00]*$"
_URL = r"^https?://[^\s@/]+[^\s@]*$"
_FINGERPRINT = r"^([0-9a-f]{32})?$"
_MEANINGS = {  # of the patterns, for people
    _DEVICE: 'it must be "auto", "cpu", "mps", "cuda" or "cuda:1", "cuda:2", …',
    _FILE_NAME: "it must be a file's name without a folder",
    _URL: "it must be an address such as http://127.0.0.1:8000/v1, without a password",
    _FINGERPRINT: "it must be 32 hexadecimal digits, or nothing",
}


class ConfigError(Exception):
    """The configuration cannot be used; the message is one sentence that names file and key."""


class Section(BaseModel):
    """Rules of all sections: unknown keys and wrong types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
    device: str = Field("auto", pattern=_DEVICE)
    prompt_format: Literal["auto", "alpaca", "llama2", "vicuna", "ziya", "chatml"] = "auto"
    merge_adapter: str = Field(
        "", description="An adapter that becomes part of the base; others must be made for both."
    )
    context_length: int = Field(
        0,
        ge=0,
        description="Tokens of prompt and reply; 0: what the model was made for.",
    )


class InferenceSettings(Section):
    engine: Literal["local", "openai"] = Field(
        "local", description="Workers on this machine, or the servers of [remote]."
    )
    devices: list[Annotated[str, Field(pattern=_DEVICE)]] = Field(
        [], description="One worker for each of these devices; empty: one, on model.device."
    )
    rows: int = Field(0, ge=0, le=256, description="Replies written at once; 0: 8, on a GPU 32.")
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads of the worker; 0: all cores but one. A thread that shares its core"
        " with somebody else holds up all others at every step.",
    )
    weight_format: Literal["auto", "native", "float32", "bfloat16", "int8"] = "auto"
    prefix_cache_mb: int = Field(1024, ge=0, description="Memory for what prompts have in common.")
    adapter_cache_mb: int = Field(1024, ge=0, description="Memory for adapters in use or lately.")
    queue_size: int = Field(64, ge=1, description="Requests that may wait in all.")
    queue_per_user: int = Field(4, ge=1, description="Requests of one user that may wait.")
    deadline_seconds: float = Field(300.0, gt=0, description="Longest wait for the first word.")
    start_timeout_seconds: float = Field(
        600.0, gt=0, description="Longest load of the model before the worker counts as hung."
    )
    hang_timeout_seconds: float = Field(
        60.0, gt=0, description="Silence of a busy worker after which it is replaced."
    )


class RemoteSettings(Section):
    """Servers that speak the OpenAI protocol, for `inference.engine = "openai"`."""

    urls: list[Annotated[str, Field(pattern=_URL)]] = Field(
        ["http://127.0.0.1:8000/v1"],
        min_length=1,
        description="Each serves the same model; a channel stays with one for its prefixes.",
    )
    model: str = Field("", description="The base model's name there; empty: the first it lists.")
    api_key_variable: str = Field(
        "OPENAI_API_KEY", description="Environment variable that holds the key, if one is needed."
    )
    capacity: int = Field(32, ge=1, le=1024, description="Replies asked of one server at once.")
    context_length: int = Field(
        0, ge=0, description="Tokens of prompt and reply; 0: what the server says, else 4096."
    )
    base_fingerprint: str = Field(
        "",
        pattern=_FINGERPRINT,
        description="Of the model served there, as adapters name it; empty: that of model.base if"
        " load_adapters is on, else adapters are not checked.",
    )
    adapters: dict[str, str] = Field(
        {}, description="Names of adapters there, where they differ: `pirate` or `pirate@3`."
    )
    load_adapters: bool = Field(
        False, description="Have vLLM load adapters from paths.data when they are asked for."
    )
    adapters_path: str = Field(
        "", description="Where the server sees data/adapters; empty: under the same path."
    )
    max_adapters: int = Field(16, ge=1, description="Loaded adapters kept at one server.")
    retries: int = Field(3, ge=0, le=10, description="Further attempts before the first word.")
    connect_timeout_seconds: float = Field(10.0, gt=0)
    idle_timeout_seconds: float = Field(
        60.0, gt=0, description="Silence in mid-reply after which the reply counts as broken off."
    )


# The ranges of sampling, declared once: for the file here and for requests in `inference.types`.
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0, le=1000)]
MinP = Annotated[float, Field(ge=0, le=1)]
RepetitionPenalty = Annotated[float, Field(ge=1, le=2)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
NoRepeatNgram = Annotated[int, Field(ge=0, le=64)]
DryMultiplier = Annotated[float, Field(ge=0, le=10)]
DryBase = Annotated[float, Field(ge=1, le=8)]
DryAllowedLength = Annotated[int, Field(ge=1, le=64)]
SequenceBreakers = Annotated[tuple[str, ...], Field(max_length=32)]
MaxNewTokens = Annotated[int, Field(ge=1, le=4096)]
StopStrings = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=32)]

# Line ends, speakers' colons, quotes and actions recur in every good reply: no match passes them.
DRY_BREAKERS = ("\n", ":", '"', "*")


class SamplingSettings(Section):
    """Defaults for every channel."""

    temperature: Temperature = 0.8
    top_p: TopP = 0.9
    top_k: TopK = 0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.05
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    no_repeat_ngram: NoRepeatNgram = 0
    dry_multiplier: DryMultiplier = 0.8
    dry_base: DryBase = 1.75
    dry_allowed_length: DryAllowedLength = 2
    dry_sequence_breakers: Annotated[SequenceBreakers, Field(strict=False)] = DRY_BREAKERS
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
    file: str = Field("troupe.sqlite3", pattern=_FILE_NAME, description="Name inside paths.data.")
    busy_timeout_seconds: float = Field(5.0, gt=0)


class FinetuneSettings(Section):
    """Defaults of `python -m finetune train`; each has a command-line option of the same name."""

    num_epochs: float = Field(
        0.0,
        ge=0,
        description="How often training goes through the whole set. 0 chooses: three times, and a"
        " small set more often, until there were enough steps to learn anything.",
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="Size of the steps, at its peak: it rises over the first tenth of the steps and"
        " falls to zero at the end. Lower it if the loss jumps about or the model babbles.",
    )
    batch_size: int = Field(
        1,
        ge=1,
        description="Examples that one step learns from. More give calmer and fewer steps.",
    )
    micro_batch_size: int = Field(
        1,
        ge=1,
        description="Examples computed at once; batch_size must be a multiple. Changes memory and"
        " speed only, not what is learnt.",
    )
    cutoff_len: int = Field(
        1024,
        ge=32,
        description="Most tokens of one example, the character's card included. Longer dialogues"
        " are split into several examples between turns, longer texts are cut and then taught"
        " without an end. Memory grows with it.",
    )
    replies_per_example: int = Field(
        4,
        ge=1,
        description="Most replies of a channel's log that one example teaches. Each example begins"
        " like a new scene, so few teach a character how to begin, many how to go on.",
    )
    lora_r: int = Field(
        16,
        ge=1,
        description="Rank of the adapter's matrices: how much it can learn, and how big it is.",
    )
    lora_alpha: int = Field(
        32,
        ge=1,
        description="How strongly the adapter acts: its output is scaled by lora_alpha / lora_r.",
    )
    lora_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the adapter's inputs dropped at random in training, against learning"
        " a small set by heart.",
    )
    lora_target_modules: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="The model's linear layers that get adapter matrices, by name.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute the forward pass a second time instead of keeping it: much less"
        " memory, about a third slower.",
    )


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    messages: bool = Field(False, description="Also log what users and characters say.")


class Config(Section):
    paths: PathSettings = PathSettings()
    model: ModelSettings = ModelSettings()
    inference: InferenceSettings = InferenceSettings()
    remote: RemoteSettings = RemoteSettings()
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
    return config.model_copy(update={"paths": paths})


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
    if pattern in _MEANINGS:
        return _MEANINGS[pattern]
    return problem["msg"][0].lower() + problem["msg"][1:]


def _known_keys() -> list[str]:
    keys: list[str] = []
    for section, field in Config.model_fields.items():
        keys.append(section)
        kind: Any = field.annotation
        keys += [f"{section}.{name}" for name in kind.model_fields]
    return keys
