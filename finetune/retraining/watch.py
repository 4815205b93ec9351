"""How promoted versions and those on trial do live, and what follows from it.

`watch` is run from time to time. It reads the log and the adapters' own files, where the truth
about promotions lies, changes at most one thing of each adapter, atomically, and then lets the rows
of the runs say so. Killed anywhere, the next look goes on from what is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Literal

from config import CanarySettings, Config
from db.database import Database
from db.runs import Run
from finetune.retraining.live_rates import LiveRates, live_rates
from finetune.retraining.live_verdict import Verdict, judge_promoted, judge_trial, past_a_limit
from inference.adapters import (
    BASE,
    DEFAULT,
    SHIPPED_VERSION,
    AdapterError,
    AdapterRegistry,
    Canary,
    Promotion,
)
from inference.promotions import taken_back
from persona_prompts.cast import SHIPPED, Cast

log = logging.getLogger(__name__)

BY = "watch"
_DAY = 86_400.0
_MONTH = 30 * _DAY  # a promoted version is judged by one after the other, from its promotion on
_LOOKED_AT = 100  # newest runs whose rows are compared with the adapters' files


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a look did or found. `label` is the version it is about.

    promoted: a trial ended well. ended: a trial ended. rolled_back: a promoted version was taken
    back. kept: it is past a limit and stays, because there is nothing better to go back to.
    """

    at: float  # Unix seconds
    adapter: str
    kind: Literal["promoted", "ended", "rolled_back", "kept"]
    label: str
    said: str  # one sentence
    run: str = ""  # the retraining that it came from


def watch(config: Config, *, now: float | None = None) -> list[Event]:
    """Judge every trial, and every version promoted last, by the log up to `now`.

    A trial is made the version for all or ended; a promoted version past a limit of `[canary]` is
    rolled back, but never further back than one promotion, never into something known to be as bad,
    and not again once a person promoted it anew. Raises `DatabaseError`.
    """
    return asyncio.run(_watch(config, time.time() if now is None else now))


async def _watch(config: Config, now: float) -> list[Event]:
    file = config.database_file
    if not file.exists():
        return []
    registry = AdapterRegistry(config.adapters_dir)
    patience = config.database.busy_timeout_seconds
    events = []
    async with await Database.open(file, busy_timeout_seconds=patience) as database:
        look = _Look(config.canary, database, registry, _cast(config), now)
        for name in registry.names():
            try:
                event = await look.at(name)
            except AdapterError as error:  # somebody else changed it meanwhile, or broke it
                log.warning("Adapter %s is left as it is: %s", name, error)
                continue
            if event is not None:
                events.append(event)
        said = {event.run: event.said for event in events if event.run}
        await _settle(database, registry, said, now)
    return events


def _cast(config: Config) -> Cast:
    return Cast(SHIPPED, config.paths.personas)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at everything."""

    settings: CanarySettings
    database: Database
    registry: AdapterRegistry
    cast: Cast
    now: float

    async def at(self, name: str) -> Event | None:
        if name == BASE:
            return None
        canary = self.registry.canary(name)
        if canary is not None:
            return await self._at_trial(name, canary)
        past = self.registry.history(name)
        if not past or past[0].version != self.registry.promoted(name):
            return None
        newest = past[0]
        by_us = any(p.back and p.by == BY and p.previous == newest.version for p in past)
        if newest.back or by_us:  # never twice in a row, and people have the last word
            return None
        return await self._at_promoted(name, newest)

    async def _at_trial(self, name: str, canary: Canary) -> Event | None:
        rates = await self._rates(canary.since, self.now)
        tried = rates.get(f"{name}@{canary.version}", LiveRates())
        champion = _of(rates, name, canary.champion)
        verdict = judge_trial(tried, champion, canary, self.settings, now=self.now)
        label = f"{name}@{canary.version}"
        match verdict:
            case Verdict("promote", reason):
                self.registry.promote(
                    name,
                    canary.version,
                    by=BY,
                    reason=reason,
                    run=canary.run,
                    expected=canary.champion,
                )
                said = f"After its trial {label} answers everywhere: {reason}."
                return Event(self.now, name, "promoted", label, said, canary.run)
            case Verdict("back", reason):
                self.registry.end_canary(name)
                said = f"The trial of {label} ended: {reason}."
                return Event(self.now, name, "ended", label, said, canary.run)
        return None

    async def _at_promoted(self, name: str, promotion: Promotion) -> Event | None:
        label = f"{name}@{promotion.version}"
        month = max(0, int((self.now - promotion.at) // _MONTH))
        since = promotion.at + month * _MONTH
        current = (await self._rates(since, self.now)).get(label, LiveRates())
        if not past_a_limit(current, self.settings, month=month):
            return None
        target = self.registry.rollback_target(name)
        if target is None:
            said = f"{label} is past a limit of [canary], and there is nothing to go back to."
            return Event(self.now, name, "kept", label, said, promotion.run)
        earlier = await self._rates(promotion.at - _MONTH, promotion.at)
        before = _of(earlier, name, target)
        verdict = judge_promoted(current, before, self.settings, month=month)
        match verdict:
            case Verdict("keep", reason):
                said = f"{label} stays: {reason}."
                return Event(self.now, name, "kept", label, said, promotion.run)
            case Verdict("back", reason):
                present = self.registry.resolve_version(name, promotion.version)
                self.registry.rollback(
                    name,
                    by=BY,
                    reason=reason,
                    run=promotion.run,
                    expected=promotion.version,
                    # What the model in use cannot take would leave it without an answer.
                    base_fingerprint=present.card.base_fingerprint,
                )
                said = f"{name}@{target} answers again in the place of {label}: {reason}."
                return Event(self.now, name, "rolled_back", label, said, promotion.run)
        return None

    async def _rates(self, since: float, until: float) -> dict[str, LiveRates]:
        return await live_rates(self.database, self.cast, since=since, until=until)


def _of(rates: dict[str, LiveRates], name: str, version: int | None) -> LiveRates:
    """What a version did. `default@0`, on a model that it was not made for, means `base`."""
    labels = [BASE if version is None else f"{name}@{version}"]
    if (name, version) == (DEFAULT, SHIPPED_VERSION):
        labels.append(BASE)
    return next((rates[label] for label in labels if label in rates), LiveRates())


async def _settle(
    database: Database, registry: AdapterRegistry, said: dict[str, str], now: float
) -> None:
    """Let the rows of runs say what became of their versions, as the adapters' files know it.

    `said` has what this look did, by run.
    """
    runs = database.runs
    for run in await runs.newest(_LOOKED_AT):
        if run.state == "canary" and not _is_tried(registry, run):
            promotion = _promotion(registry, run)
            if promotion is not None:
                reason = said.get(run.key) or f"After its trial: {promotion.reason}."
                await runs.settle(run.key, "canary", "promoted", reason, now)
            else:
                ended = f"The trial of {run.challenger} ended; it was not promoted."
                await runs.settle(run.key, "canary", "rejected", said.get(run.key) or ended, now)
        elif run.state == "promoted" and (
            rollback := taken_back(registry.history(run.adapter), run.key)
        ):
            reason = said.get(run.key) or f"{run.challenger} was taken back: {rollback.reason}."
            await runs.settle(run.key, "promoted", "rejected", reason, now)


def _is_tried(registry: AdapterRegistry, run: Run) -> bool:
    canary = registry.canary(run.adapter)
    return canary is not None and canary.run == run.key


def _promotion(registry: AdapterRegistry, run: Run) -> Promotion | None:
    """The change of an adapter that a run, or the end of its trial, made."""
    changes = registry.history(run.adapter)
    return next((p for p in changes if p.run == run.key and not p.back), None)
