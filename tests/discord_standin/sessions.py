"""Gateway sessions: what outlives a connection, so that a client can resume it."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from .intents import Intent
from .state import Json

if TYPE_CHECKING:
    from .gateway import Connection

#: Events kept for a resume; a client further behind than this has to identify again.
REPLAY_LIMIT = 20_000


@dataclass
class Heartbeat:
    """One heartbeat; times in `time.monotonic()` seconds."""

    received_at: float
    sequence: int | None
    acknowledged_at: float | None


@dataclass(eq=False)
class HeartbeatLog:
    """The heartbeats of one connection (a resumed session has several connections)."""

    shard: int
    interval: float
    opened_at: float = field(default_factory=time.monotonic)
    closed_at: float | None = None
    beats: list[Heartbeat] = field(default_factory=list)

    def gaps(self) -> list[float]:
        """Seconds between one heartbeat and the next; the first counts from HELLO.

        The last gap runs to the connection's end or to now, so a client that stopped beating
        shows as one gap that grows.
        """
        end = time.monotonic() if self.closed_at is None else self.closed_at
        moments = [self.opened_at, *(beat.received_at for beat in self.beats), end]
        return [after - before for before, after in pairwise(moments)]

    def longest_gap(self) -> float:
        return max(self.gaps())

    def latest_gap(self) -> float:
        """Seconds since the last heartbeat (or since HELLO)."""
        return self.gaps()[-1]


@dataclass(eq=False)
class Session:
    """What one IDENTIFY started. Events reach it while it is connected, or wait for a resume."""

    shard: int
    shard_count: int
    intents: Intent
    large_threshold: int = 50
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    sequence: int = 0
    replay: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=REPLAY_LIMIT))
    connection: Connection | None = None
    disconnected_at: float | None = None
    identified_at: float = field(default_factory=time.monotonic)
    resumed: int = 0
    presence: Json | None = None

    @property
    def connected(self) -> bool:
        return self.connection is not None

    def hears(self, guild_id: int | None, intent: Intent) -> bool:
        """Whether an event of that guild (None: a direct message) is for this session."""
        shard = 0 if guild_id is None else (guild_id >> 22) % self.shard_count
        return shard == self.shard and (not intent or bool(self.intents & intent))

    def push(self, event: str, data: str) -> None:
        """Numbers an event (data is JSON text), keeps it for a resume, and sends it if it can."""
        self.sequence += 1
        frame = f'{{"op":0,"s":{self.sequence},"t":{json.dumps(event)},"d":{data}}}'
        self.replay.append((self.sequence, frame))
        if self.connection is not None:
            self.connection.send(frame)

    def missed_since(self, sequence: int) -> list[str] | None:
        """The frames after that sequence number; None when they are no longer all there."""
        if sequence > self.sequence:
            return None
        oldest = self.replay[0][0] if self.replay else self.sequence + 1
        if sequence < oldest - 1:
            return None
        return [frame for number, frame in self.replay if number > sequence]
