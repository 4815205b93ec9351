"""A client's rest: its workers are away, so that something else may use their devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from inference.backend import Backend
from inference.deadlines import Deadlines
from inference.supervisor import Supervisor

_LOOK_SECONDS = 0.05


class Rest:
    """Whether the workers among `backends` are wanted away. Use it from one event loop."""

    def __init__(self, backends: Sequence[Backend], deadlines: Deadlines) -> None:
        self.workers = [backend for backend in backends if isinstance(backend, Supervisor)]
        self._deadlines = deadlines
        self.wanted = False  # from now on nothing is handed to a worker

    @property
    def possible(self) -> bool:
        return bool(self.workers)

    async def begin(self, idle: Callable[[], bool]) -> None:
        """Send the workers away once `idle`. Returns early if the rest ends meanwhile.

        A worker that hangs in mid-reply is replaced by its supervisor, so the wait has an end.
        """
        if not self.possible:
            return
        self.wanted = True
        self._deadlines.suspend()
        while self.wanted and not idle():  # noqa: ASYNC110 - seldom, and for one reply's length
            await asyncio.sleep(_LOOK_SECONDS)
        if self.wanted:
            await asyncio.gather(*(worker.rest() for worker in self.workers))

    def end(self) -> None:
        """Have the workers load the model again, if they are away."""
        self.wanted = False
        if all(worker.state != "resting" for worker in self.workers):
            self._deadlines.resume()
        for worker in self.workers:
            worker.wake()

    def over(self) -> None:
        """A worker is ready: whoever waits can be answered, so the time counts again."""
        if not self.wanted:
            self._deadlines.resume()
