"""Waiting for a condition without sleeping: whoever changes something fires a pulse."""

# ruff: noqa: ASYNC109 - tests name their own timeouts, and get an AssertionError that says why

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Pulse:
    """A bell that wakes everyone who waits for a change of the thing it belongs to."""

    def __init__(self, *parents: Pulse) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._parents = parents

    def fire(self) -> None:
        """Wakes the waiters, here and at the parents; each looks again for itself."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for parent in self._parents:
            parent.fire()

    async def _next(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until(
        self, check: Callable[[], T | None], timeout: float, describe: Callable[[], str]
    ) -> T:
        """The first true result of `check`, asked now and at every pulse.

        timeout: seconds. Raises AssertionError with `describe()` when they have passed.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = check()
                    if found:
                        return found
                    await self._next()
        except TimeoutError:
            raise AssertionError(f"not within {timeout:g} s: {describe()}") from None
