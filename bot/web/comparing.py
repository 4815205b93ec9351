"""Two adapters on the same words: each has a channel of its own, everything else is the same.

Both go through the turn like any channel, so a comparison can go on over several messages, each
side with its own replies in its history. A card whose macros throw dice throws them for each side.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from bot.errors import CommandError
from bot.web.sampling import SEED
from bot.web.stage import Shown
from bot.web.visit import Visit, side_by_side

_SEEDS = 1 << 31  # short enough to be typed again

Sides = tuple[list[Shown], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared. `seed` None: one is drawn, the same for both sides."""

    message: str
    persona: str
    adapters: tuple[str, str]
    sampling: dict[str, object] = field(default_factory=dict)
    seed: int | None = None


def drawn_seed() -> int:
    """A seed for both sides."""
    return secrets.randbelow(_SEEDS)


async def compare(visit: Visit, wanted: Comparison, user_name: str) -> AsyncGenerator[Sides, None]:
    """Say the message to both sides and follow both replies.

    Another character than last time begins both scenes anew. Raises `CommandError`,
    `CharacterError` or `AdapterError`, before anything is said, if one of them cannot answer.
    """
    message = _said(wanted.message)
    if not message:
        raise CommandError("Write a message for both of them.")
    seed = drawn_seed() if wanted.seed is None else wanted.seed
    casting = visit.house.behind.casting
    for side, adapter in zip(visit.compared, wanted.adapters, strict=True):
        if casting.own(await side.channel()) != wanted.persona:
            await side.set_persona(wanted.persona, user_name)
        else:
            await side.open(user_name)
        await side.set_adapter(_version(visit, adapter))
        await side.set_sampling({**wanted.sampling, SEED: seed})
    streams = (side.take(message, user_name) for side in visit.compared)
    async with aclosing(side_by_side(*streams)) as views:
        async for view in views:
            yield view


async def start_over(visit: Visit, user_name: str) -> Sides:
    """Begin both scenes anew."""
    for side in visit.compared:
        await side.start_over(user_name)
    left, right = visit.compared
    return await left.shown(), await right.shown()


def _version(visit: Visit, adapter: str) -> str:
    """What a name stands for now, so that no trial of a newer version mixes in on one side."""
    client = visit.house.models
    info = client.adapters.resolve(adapter, client.info.fingerprint)
    return adapter if info is None else info.label


def _said(message: str) -> str:
    """A message is said on both sides, never done as a command."""
    return message.strip().lstrip("/").strip()
