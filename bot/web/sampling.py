"""The sampling settings that the page offers, with the ranges of their declarations."""

from __future__ import annotations

from bot.errors import CommandError
from config import SamplingSettings
from inference.types import Sampling, parse_sampling

OFFERED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
)
SEED = "seed"
NO_BEAMS = (
    "Beam search is left out: beams look for the likeliest text, which is the bland and repetitive"
    " one that a character should not say, cost a row of the batch each, and cannot be streamed,"
    " since the best beam is known at the end only."
)

# Where the seeds' `generate.py` stands at first.
INSTRUCTED: dict[str, object] = {
    "temperature": 0.1,
    "top_p": 0.75,
    "top_k": 40,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "max_new_tokens": 128,
}


def limits(name: str) -> tuple[float, float, float]:
    """Least and greatest value of a setting, and the step between two; from its declaration.

    A value that must be more than its bound begins one step above it.
    """
    field = Sampling.model_fields[name]
    bounds = {
        sign: float(value)
        for rule in field.metadata
        for sign in ("ge", "gt", "le")
        if (value := getattr(rule, sign, None)) is not None
    }
    step = 1.0 if field.annotation is int else 0.01
    least = bounds["ge"] if "ge" in bounds else bounds["gt"] + step
    return least, bounds["le"], step


def seed_of(text: str) -> int | None:
    """A seed as it was typed; None if nothing was. Raises `CommandError`."""
    text = text.strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 19 or int(text) >= 2**63:
        raise CommandError("A seed is a whole number from 0 up to 2^63 - 1, or nothing.")
    return int(text)


def own_settings(
    defaults: SamplingSettings, before: dict[str, object], chosen: dict[str, object]
) -> dict[str, object]:
    """What a channel has of its own once `chosen` holds there; the rest of `before` stays.

    Raises `CommandError` in a sentence for a value that is not possible.
    """
    own = {name: value for name, value in before.items() if name not in chosen}
    own.update(
        (name, value)
        for name, value in chosen.items()
        if value is not None and value != getattr(defaults, name, None)
    )
    checked(defaults.model_dump(), own)
    return own


def checked(defaults: dict[str, object], chosen: dict[str, object]) -> Sampling:
    """`chosen` over `defaults`. Raises `CommandError` in a sentence."""
    try:
        return parse_sampling({**defaults, **chosen})
    except ValueError as error:
        raise CommandError(str(error)) from None
