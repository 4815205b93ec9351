"""A record of every REST request that the bot made."""

# ruff: noqa: ASYNC109 - tests name their own timeouts, and get an AssertionError that says why

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .waiting import Pulse


@dataclass(eq=False)
class RestCall:
    """One request. `path` and `route` are relative to /api/v10; times in monotonic seconds."""

    method: str
    path: str
    route: str
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    files: list[str] = field(default_factory=list)
    reason: str | None = None
    at: float = field(default_factory=time.monotonic)
    answered_at: float | None = None
    #: None until answered; 0 when the connection was cut instead.
    status: int | None = None

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} -> {self.status}>"


class Journal:
    """The requests, oldest first. Iterates over them; `matching` picks."""

    def __init__(self) -> None:
        self.calls: list[RestCall] = []
        #: Requests to routes that the stand-in does not have: a test may assert there are none.
        self.unhandled: list[RestCall] = []
        self.pulse = Pulse()

    def __iter__(self) -> Iterator[RestCall]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def matching(self, method: str, route: str) -> list[RestCall]:
        """The calls of a method ("*": any) to a route such as "/channels/{id}/messages"."""
        wanted = re.sub(r"\{[^}]*\}", "{}", route)
        return [
            call
            for call in self.calls
            if method in ("*", call.method)
            and (route == "*" or re.sub(r"\{[^}]*\}", "{}", call.route) == wanted)
        ]

    async def wait(
        self, method: str, route: str, *, count: int = 1, timeout: float = 5.0
    ) -> list[RestCall]:
        """Waits until that many such calls have been answered; returns them."""

        def answered() -> list[RestCall] | None:
            calls = [call for call in self.matching(method, route) if call.status is not None]
            return calls if len(calls) >= count else None

        return await self.pulse.until(
            answered, timeout, lambda: f"{count} × {method} {route}; calls: {self.calls[-10:]}"
        )

    def clear(self) -> None:
        self.calls.clear()
        self.unhandled.clear()
