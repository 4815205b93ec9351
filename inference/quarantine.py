"""What keeps ending the process that holds the model is set aside for a while."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from inference.types import GenerationRequest, RequestRefused

DEATHS, WINDOW_SECONDS, SET_ASIDE_SECONDS = 3, 60.0, 600.0


class Quarantine:
    """Counts deaths by what was asked, since asking again makes a new request of the same words."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deaths: dict[str, deque[float]] = {}

    def note_death(self, request: GenerationRequest) -> None:
        """A process ended while it held `request`."""
        now = self._clock()
        for key in [k for k, v in self._deaths.items() if now - v[-1] > SET_ASIDE_SECONDS]:
            del self._deaths[key]
        self._deaths.setdefault(_content(request), deque(maxlen=DEATHS)).append(now)

    def check(self, request: GenerationRequest) -> None:
        """Raise `RequestRefused` for what ended three processes within a minute."""
        deaths = list(self._deaths.get(_content(request), []))
        if len(deaths) < DEATHS or deaths[-1] - deaths[0] > WINDOW_SECONDS:
            return
        if self._clock() - deaths[-1] <= SET_ASIDE_SECONDS:
            raise RequestRefused(
                "This very message has ended the model's process three times within a minute and"
                f" is set aside for {SET_ASIDE_SECONDS / 60:.0f} minutes; please put it"
                " differently."
            )


def _content(request: GenerationRequest) -> str:
    digest = hashlib.sha256(request.adapter.encode("utf-8", "replace"))
    for message in request.messages:
        digest.update(f"{message.role}\0{message.content}\0".encode("utf-8", "replace"))
    return digest.hexdigest()
