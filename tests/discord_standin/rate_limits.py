"""Real rate limit buckets, for tests that want the bot to live under Discord's own limits."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from .faults import route_pattern
from .journal import RestCall


@dataclass
class Limit:
    """So many requests per window (s) to a route, counted for each channel / webhook apart."""

    method: str
    route: str
    requests: int
    seconds: float
    refused: int = 0
    windows: dict[str, list[float]] = field(default_factory=dict)  # key: [window end, used]

    def __post_init__(self) -> None:
        self._pattern = route_pattern(self.route)
        self.bucket = hashlib.sha1(f"{self.method}{self.route}".encode()).hexdigest()[:16]

    def applies_to(self, call: RestCall) -> bool:
        return self.method == call.method and self._pattern.fullmatch(call.path) is not None


@dataclass
class Verdict:
    """What a request is told: headers, and how long to wait when it is refused (s)."""

    headers: dict[str, str]
    retry_after: float | None = None


class RateLimits:
    """Off until `enforce` is called; then each answer carries X-RateLimit headers."""

    def __init__(self) -> None:
        self.limits: list[Limit] = []

    def enforce(self, method: str, route: str, *, requests: int, seconds: float) -> Limit:
        limit = Limit(method, route, requests, seconds)
        self.limits.append(limit)
        return limit

    def enforce_usual(self) -> list[Limit]:
        """About what Discord applied to messages, reactions and webhooks in 2025."""
        message = "/channels/{id}/messages/{id}"
        webhook = "/webhooks/{id}/{token}"
        return [
            self.enforce("POST", "/channels/{id}/messages", requests=5, seconds=5.0),
            self.enforce("PATCH", message, requests=5, seconds=5.0),
            self.enforce("DELETE", message, requests=5, seconds=1.0),
            self.enforce("POST", "/channels/{id}/typing", requests=5, seconds=5.0),
            self.enforce("PUT", f"{message}/reactions/{{emoji}}/@me", requests=1, seconds=0.25),
            self.enforce("POST", webhook, requests=5, seconds=2.0),
            self.enforce("PATCH", f"{webhook}/messages/{{id}}", requests=5, seconds=2.0),
        ]

    def clear(self) -> None:
        self.limits.clear()

    def judge(self, call: RestCall) -> Verdict | None:
        """Counts a request against the first limit that it falls under."""
        for limit in self.limits:
            if limit.applies_to(call):
                return _count(limit, call)
        return None


def _count(limit: Limit, call: RestCall) -> Verdict:
    # The major parameters are what follows /channels, /guilds or /webhooks.
    parts = call.path.strip("/").split("/")
    major = "/".join(parts[: 3 if parts[0] == "webhooks" else 2])
    now = time.monotonic()
    window = limit.windows.setdefault(major, [now + limit.seconds, 0])
    if now >= window[0]:
        window[0], window[1] = now + limit.seconds, 0
    reset_after = window[0] - now
    refused = window[1] >= limit.requests
    if refused:
        limit.refused += 1
    else:
        window[1] += 1
    headers = {
        "X-RateLimit-Limit": str(limit.requests),
        "X-RateLimit-Remaining": str(int(limit.requests - window[1])),
        "X-RateLimit-Reset": f"{time.time() + reset_after:.3f}",
        "X-RateLimit-Reset-After": f"{reset_after:.3f}",
        "X-RateLimit-Bucket": limit.bucket,
    }
    return Verdict(headers, reset_after if refused else None)
