"""How many replies one person may have in a while, so that there are some for everybody.

Counted in this process, over all channels; a restart begins anew.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from config import LimitSettings

MINUTE, HOUR = 60.0, 3600.0
_MOST_PEOPLE = 10_000  # before those are dropped who have been silent for an hour


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no reply now. `told`: the person has heard it already, lately."""

    sentence: str
    told: bool


@dataclass(slots=True)
class _Person:
    replies: list[float] = field(default_factory=list)  # when each was asked for
    told: dict[float, float] = field(default_factory=dict)  # window: when its sentence was said


class Limits:
    """Counts the replies to every person in sliding windows. `clock` gives Unix seconds."""

    def __init__(self, settings: LimitSettings, *, clock: Callable[[], float] = time.time) -> None:
        bounds = {MINUTE: settings.replies_per_minute, HOUR: settings.replies_per_hour}
        self._bounds = {window: most for window, most in bounds.items() if most}
        self._clock = clock
        self._people: dict[str, _Person] = {}

    def take(self, author_key: str, at: float | None = None) -> Refusal | None:
        """Count a reply to what a person asked for (`at`; None: now), unless they had enough.

        The sentence is new once in every window that is full; until there is room again, it has
        been told.
        """
        if not self._bounds:
            return None
        now = self._clock() if at is None else at
        person = self._people.get(author_key)
        if person is None:
            self._make_room()
            person = self._people[author_key] = _Person()
        person.replies = [asked for asked in person.replies if now - HOUR < asked]
        full = [
            (min(within) + window - now, window, most)
            for window, most in self._bounds.items()
            if len(within := [asked for asked in person.replies if now - window < asked]) >= most
        ]
        if not full:
            person.replies.append(now)
            return None
        seconds, window, most = max(full)
        told = now - person.told.get(window, -math.inf) < window
        if not told:
            person.told[window] = now
        return Refusal(_sentence(seconds, window, most), told)

    def _make_room(self) -> None:
        if len(self._people) < _MOST_PEOPLE:
            return
        oldest = self._clock() - HOUR
        self._people = {
            key: person
            for key, person in self._people.items()
            if any(asked > oldest for asked in person.replies)
        }


def _sentence(seconds: float, window: float, most: int) -> str:
    wait = max(1, math.ceil(seconds))
    again = f"{wait} seconds" if wait < 2 * MINUTE else f"{math.ceil(wait / MINUTE)} minutes"
    again = "a second" if wait == 1 else again
    while_ = "minute" if window == MINUTE else "hour"
    return (
        f"You have had {most} {'reply' if most == 1 else 'replies'} within the {while_}, and others"
        f" want some too; there is another for you in {again}. Until then I only listen."
    )
