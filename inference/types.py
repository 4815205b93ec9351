"""What crosses the wall between the rest of the project and the model: requests in, chunks out.

Nothing here imports torch, so the bot's process stays light.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config import (
    DRY_BREAKERS,
    MOST_BREAKERS,
    DryAllowedLength,
    DryBase,
    DryMultiplier,
    MaxNewTokens,
    MinP,
    NoRepeatNgram,
    Penalty,
    PromptFormatName,
    RepetitionPenalty,
    SequenceBreakers,
    StopStrings,
    Temperature,
    TopK,
    TopP,
)

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled", "error"]


class InferenceError(Exception):
    """Something about a model, an adapter or a request; the message is one sentence for a user."""


class RequestRefused(InferenceError):
    """The request was never queued: queue full, user over the cap, bad adapter, prompt too long."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Frozen):
    """One turn of a prompt, as chat templates know it."""

    role: Role
    content: str


class Sampling(Frozen):
    """How the next token is chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off."""

    temperature: Temperature = 0.8
    top_p: TopP = 0.9
    top_k: TopK = 0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.0
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    no_repeat_ngram: NoRepeatNgram = 0
    dry_multiplier: DryMultiplier = 0.0
    dry_base: DryBase = 1.75
    dry_allowed_length: DryAllowedLength = 2
    dry_sequence_breakers: SequenceBreakers = DRY_BREAKERS
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field({}, max_length=300)
    logprobs: int | None = Field(None, ge=0, le=20)
    max_new_tokens: MaxNewTokens = 220
    stop: StopStrings = ()
    seed: int | None = Field(None, ge=0, lt=2**63)

    def replace(self, **changes: object) -> Sampling:
        """A copy with `changes` applied and checked.

        Raises `ValueError` with one sentence that names the setting and the allowed range.
        """
        return parse_sampling({**self.model_dump(), **changes})

    def sparing(self, names: Iterable[str]) -> Sampling:
        """A copy whose DRY lets `names` be said as often as they are needed."""
        breakers = dict.fromkeys((*self.dry_sequence_breakers, *names))
        return self.replace(dry_sequence_breakers=tuple(breakers)[:MOST_BREAKERS])


def parse_sampling(values: dict[str, object]) -> Sampling:
    """Check settings that arrived from outside.

    Raises `ValueError` with one sentence that names the setting and the allowed range.
    """
    try:
        return Sampling.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else "sampling"
        if problem["type"] == "extra_forbidden":
            known = ", ".join(Sampling.model_fields)
            raise ValueError(f"There is no sampling setting {name!r}; known are {known}.") from None
        if allowed := sampling_range(name):
            raise ValueError(
                f"{name} = {problem['input']!r} is not possible; it must be {allowed}."
            ) from None
        raise ValueError(f"{name} is not usable: {problem['msg']}.") from None


_TABLES = {
    "logit_bias": "a table of token ids and biases between -100 and 100",
    "dry_sequence_breakers": "at most 32 texts",
    "stop": "at most 32 texts, none of them empty",
}


def sampling_range(name: str) -> str:
    """The allowed values of one setting in words, from its declaration; empty if it has none."""
    field = Sampling.model_fields.get(name)
    if field is None:
        return ""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{word} {getattr(rule, sign)}"
        for rule in field.metadata
        for sign, word in words.items()
        if getattr(rule, sign, None) is not None
    ]
    if name in _TABLES:
        return _TABLES[name]
    kind = "a whole number" if field.annotation in (int, int | None) else "a number"
    return f"{kind}, {' and '.join(bounds)}" if bounds else kind


class GenerationRequest(Frozen):
    """One reply that somebody waits for.

    `adapter` is a name (`default`, `base`, `pirate`) or one version (`pirate@3`). `guild`,
    `channel` and `user` are opaque keys: fairness is counted over them, and `channel` also says
    where a prefix may be found again. `continues`: the last message is the assistant's and was cut
    off; the reply goes on right where it ends. Only for models whose info says that they can.
    `background`: nobody waits for it, so it is begun only when no other request waits.
    `prompt_format` takes the place of the model's for this request, whatever its adapter learnt;
    only an engine on this machine can do that.
    """

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    messages: tuple[Message, ...] = Field(min_length=1)
    continues: bool = False
    background: bool = False
    prompt_format: PromptFormatName = "auto"
    adapter: str = "default"
    sampling: Sampling = Sampling()
    guild: str = ""
    channel: str = ""
    user: str = ""


class Usage(Frozen):
    """What one reply cost; tokens, and seconds since the engine took the request."""

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int
    first_token_seconds: float
    total_seconds: float


class TokenLogprob(Frozen):
    """How likely the model itself, before penalties and temperature, found a token it wrote."""

    token: int
    logprob: float  # natural logarithm
    top: tuple[tuple[int, float], ...] = ()  # the likeliest tokens, as many as were asked for


class Chunk(Frozen):
    """A piece of a reply. Every stream ends in exactly one chunk with a `finish_reason`.

    `restart` says that the worker died and the reply begins again: the text so far is void.
    `logprobs` are those of the tokens since the last chunk, if `Sampling.logprobs` is set; a token
    may come before its text, which waits for whole characters and possible stop strings.
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    restart: bool = False
    finish_reason: FinishReason | None = None
    error: str = ""  # one sentence for a user, when finish_reason is "error"
    adapter: str = ""  # on the last chunk: what really answered, `base` or `name@version`
    usage: Usage | None = None


class ModelInfo(Frozen):
    """What the bot's process knows of the loaded model."""

    name: str
    fingerprint: str  # of the weights, adapters are bound to it; "" if it is not known
    device: str
    dtype: str
    context_length: int  # tokens, prompt and reply together
    prompt_format: str
    message_overhead: int  # most tokens that the format adds around one message
    prompt_overhead: int  # tokens that it adds once, the reply's opening included
    tokenizer_json: str  # for `tokenizers.Tokenizer.from_str`, to count tokens without torch
    summary: str  # the one readable line that is logged at load
    continues: bool = False  # whether a reply can go on in the middle of a message
