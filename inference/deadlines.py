"""How long requests may wait for their first word, with a clock that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadlines:
    """One deadline for each request that has not begun. Use it from one event loop.

    While `suspended`, as when nobody is there to answer, none of them comes; afterwards each
    request has its whole time again.
    """

    def __init__(self, seconds: float, expired: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._expired = expired
        self._timers: dict[str, asyncio.TimerHandle | None] = {}
        self._suspended = False

    def begin(self, request_id: str) -> None:
        """From now on, or from `resume` on, `request_id` has its time."""
        self._timers[request_id] = None if self._suspended else self._timer(request_id)

    def end(self, request_id: str) -> None:
        """The request has begun or ended; unknown ids are ignored."""
        if timer := self._timers.pop(request_id, None):
            timer.cancel()

    def suspend(self) -> None:
        self._suspended = True
        for request_id, timer in self._timers.items():
            if timer is not None:
                timer.cancel()
            self._timers[request_id] = None

    def resume(self) -> None:
        """Does nothing unless suspended."""
        if self._suspended:
            self._suspended = False
            for request_id in self._timers:
                self._timers[request_id] = self._timer(request_id)

    def _timer(self, request_id: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._seconds, self._late, request_id)

    def _late(self, request_id: str) -> None:
        del self._timers[request_id]
        self._expired(request_id)
