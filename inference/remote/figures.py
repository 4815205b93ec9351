"""What a remote server has done for us, in the figures that an engine gives of itself."""

from __future__ import annotations

import time
from collections import deque

from inference.engine.interface import EngineStats
from inference.types import Usage

_TELL_SECONDS = 1.0
_WINDOW_SECONDS = 5.0


class RemoteFigures:
    """Counts tokens as they come; of the server's insides only what it tells of each reply."""

    def __init__(self) -> None:
        self._generated = 0
        self._prompt = 0
        self._cached = 0
        self._events = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._told = 0.0

    def count(self, tokens: int) -> None:
        self._events += 1
        self._generated += tokens
        self._recent.append((time.monotonic(), tokens))

    def ended(self, usage: Usage) -> None:
        self._prompt += usage.prompt_tokens
        self._cached += usage.cached_tokens

    def due(self, active: int, adapters: int, loads: int) -> EngineStats | None:
        """The figures of now, if a second has passed or nothing is under way any more."""
        now = time.monotonic()
        if active and now - self._told < _TELL_SECONDS:
            return None
        self._told = now
        while self._recent and self._recent[0][0] < now - _WINDOW_SECONDS:
            self._recent.popleft()
        begun = self._recent[0][0] if self._recent else now
        return EngineStats(
            active=active,
            waiting_for_adapter=0,
            steps=self._events,
            generated_tokens=self._generated,
            tokens_per_second=sum(n for _, n in self._recent) / max(now - begun, _TELL_SECONDS),
            prompt_tokens=self._prompt,
            prefix_hit_tokens=self._cached,
            prefix_bytes=0,
            adapters_in_batch_memory=adapters,
            adapter_loads=loads,
        )
