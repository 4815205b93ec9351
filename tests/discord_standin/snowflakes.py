"""Ids as Discord makes them: 64 bits, time first, never decreasing."""

from __future__ import annotations

import time
from datetime import UTC, datetime

DISCORD_EPOCH_MS = 1_420_070_400_000
_SEQUENCE_BITS = 12
_TIME_SHIFT = 22
# The worker and process fields only have to be plausible; a second worker keeps the ids that are
# placed on a chosen shard apart from those counted off the clock.
_WORKER = 1 << 17
_SHARDED_WORKER = 2 << 17


def snowflake_time(snowflake: int) -> datetime:
    """The moment (UTC, to the millisecond) that a snowflake carries."""
    return datetime.fromtimestamp(((snowflake >> _TIME_SHIFT) + DISCORD_EPOCH_MS) / 1000, UTC)


class Snowflakes:
    """Issues ids; each is larger than every id that `next` returned before."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._sequence = 0
        self._sharded = 0

    def next(self) -> int:
        """A new id for now."""
        now = time.time_ns() // 1_000_000 - DISCORD_EPOCH_MS
        if now > self._last_ms:
            self._last_ms, self._sequence = now, 0
        else:  # the same millisecond, or the clock stepped back
            self._sequence += 1
            if self._sequence >> _SEQUENCE_BITS:
                self._last_ms, self._sequence = self._last_ms + 1, 0
        return (self._last_ms << _TIME_SHIFT) | _WORKER | self._sequence

    def next_on_shard(self, shard: int, shard_count: int) -> int:
        """A new guild id with `(id >> 22) % shard_count == shard`, at most a second old."""
        now = time.time_ns() // 1_000_000 - DISCORD_EPOCH_MS
        millisecond = now - (now - shard) % shard_count
        self._sharded += 1
        return (millisecond << _TIME_SHIFT) | _SHARDED_WORKER | self._sharded % 4096
