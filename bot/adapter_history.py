"""`/adapter history | rollback`: what an adapter's name stood for, and the way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.turn import Turns
from inference.adapters import BASE, AdapterError, AdapterRegistry, Canary, Promotion

log = logging.getLogger(__name__)

BY = "command"
_MOST = 10  # changes that are shown


class AdapterHistory:
    """The commands about promotions. Each raises `CommandError` or `AdapterError` in a sentence.

    `fingerprint` tells which model is loaded; None while none is.
    """

    def __init__(
        self, casting: Casting, turns: Turns, fingerprint: Callable[[], str | None]
    ) -> None:
        self._casting = casting
        self._adapters = casting.adapters
        self._turns = turns
        self._fingerprint = fingerprint

    async def show(self, place: Place, name: str = "") -> Answer:
        """What `name`, or the adapter in use here, stood for, newest first."""
        name = await self._name(place, name)
        fingerprint = self._fingerprint()
        return Answer(await asyncio.to_thread(_history, self._adapters, name, fingerprint))

    async def rollback(self, place: Place, name: str = "") -> Answer:
        """Let `name`, or the adapter in use here, stand for what it stood for before, everywhere.

        While a version is on trial, that trial is what is taken back.
        """
        name = await self._name(place, name)
        try:
            said = await asyncio.to_thread(self._go_back, name)
        except OSError as error:
            raise CommandError(
                f"`{name}` cannot be rolled back: {error.strerror or error}; check the disk."
            ) from error
        log.warning("Rolled back in %s: %s", place.key, said)
        return Answer(said, public=True)

    def _go_back(self, name: str) -> str:
        if (canary := self._adapters.canary(name)) is not None:
            self._adapters.end_canary(name)
            return (
                f"The trial of `{name}@{canary.version}` is over; `{name}` stands for"
                f" {_meaning(self._adapters, name, self._fingerprint())} in every channel."
            )
        before = self._adapters.promoted(name)
        self._adapters.rollback(
            name,
            by=BY,
            reason="rolled back by /adapter rollback",
            expected=before,
            base_fingerprint=self._fingerprint(),
        )
        return (
            f"`{name}` stands for {_meaning(self._adapters, name, self._fingerprint())} again, in"
            f" every channel; until now it was `{name}@{before}`. Replies that are being written"
            " end as they began."
        )

    async def _name(self, place: Place, name: str) -> str:
        """The adapter that is meant, without a version."""
        channel = await self._turns.channel(place)
        wanted = name.strip() or self._casting.chosen_adapter(channel)
        stem = wanted.partition("@")[0]
        if stem == BASE:
            raise CommandError(f"`{BASE}` is the model without adapter and never changes.")
        await asyncio.to_thread(self._check, stem)
        return stem

    def _check(self, name: str) -> None:
        """Raises `AdapterError` if there is no such name, `CommandError` if it is elsewhere."""
        if not (versions := self._adapters.versions(name)):
            self._adapters.resolve(name)
            raise CommandError(f"`{name}` has no versions here, so nothing of it can change.")
        self._adapters.resolve(f"{name}@{versions[-1]}")


def trial_line(adapters: AdapterRegistry, name: str) -> str:
    """What is being tried of `name`, as one line; empty if nothing is."""
    canary = adapters.canary(name)
    return "" if canary is None else _trial(name, canary)


def _history(adapters: AdapterRegistry, name: str, fingerprint: str | None) -> str:
    past = adapters.history(name)
    lines = [f"**{name}** stands for {_meaning(adapters, name, fingerprint)}."]
    if trial := trial_line(adapters, name):
        lines.append(trial)
    lines += [_change(name, change) for change in past[:_MOST]]
    if len(past) > _MOST:
        lines.append(f"… and {len(past) - _MOST} earlier.")
    if not past:
        lines.append("It never stood for anything else, as far as is known.")
    target = adapters.rollback_target(name)
    if target is not None:
        lines.append(f"/adapter rollback would go back to `{name}@{target}`.")
    return "\n".join(lines)


def _change(name: str, change: Promotion) -> str:
    arrow = "↩" if change.back else "→"
    before = "" if change.previous is None else f" (before: `{name}@{change.previous}`)"
    by = f", by {change.by}" if change.by else ""
    run = f" {change.run}" if change.run else ""
    reason = f": {change.reason}" if change.reason else ""
    return f"{_time(change.at)} {arrow} `{name}@{change.version}`{before}{by}{run}{reason}"


def _trial(name: str, canary: Canary) -> str:
    return (
        f"`{name}@{canary.version}` is tried in {canary.share:.0%} of the channels, until"
        f" {_time(canary.until)}."
    )


def _meaning(adapters: AdapterRegistry, name: str, fingerprint: str | None) -> str:
    """What `name` means for the model in use."""
    version = adapters.promoted(name)
    try:
        info = adapters.resolve(name, fingerprint)
    except AdapterError:
        unusable = ", which the model in use cannot take"
        return "no version yet" if version is None else f"`{name}@{version}`{unusable}"
    return "the model without adapter" if info is None else f"`{info.label}`"


def _time(at: float) -> str:
    """A time that a damaged or foreign clock wrote must not break the list."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
