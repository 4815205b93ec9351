"""The model, where things lie, and who computes: workers here or servers elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.patterns import DEVICE, FINGERPRINT, URL
from config.section import Section

# The files of inference/templates; `auto` is the tokenizer's own template.
PromptFormatName = Literal[
    "auto", "alpaca", "alpaca_short", "chatml", "llama2", "vicuna", "vigogne", "ziya"
]


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
    device: str = Field("auto", pattern=DEVICE)
    prompt_format: PromptFormatName = "auto"
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
    devices: list[Annotated[str, Field(pattern=DEVICE)]] = Field(
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

    urls: list[Annotated[str, Field(pattern=URL)]] = Field(
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
        pattern=FINGERPRINT,
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
