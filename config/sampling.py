"""How the next token is chosen: the range of each setting, and the defaults of every channel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.section import Section

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
MOST_BREAKERS = 32
SequenceBreakers = Annotated[tuple[str, ...], Field(max_length=MOST_BREAKERS)]
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
