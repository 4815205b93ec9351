"""Failures on demand: what the next requests to a route shall suffer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .journal import RestCall


def route_pattern(route: str) -> re.Pattern[str]:
    """Matches a path against a route such as "/channels/{id}/messages"; "*" is any path.

    Only the shape counts: a {name} stands for one segment, whatever its name.
    """
    if route == "*":
        return re.compile(".*")
    parts = re.split(r"\{[^}]*\}", route)
    return re.compile("[^/]+".join(map(re.escape, parts)) + "/?")


@dataclass
class Fault:
    """One rule. It strikes `times` requests (None: every one) until it is cancelled."""

    method: str
    route: str
    times: int | None
    where: Callable[[RestCall], bool] | None = None
    #: Answer with this status instead of handling the request.
    status: int | None = None
    code: int = 0
    message: str = ""
    #: Answer 429; seconds.
    retry_after: float | None = None
    global_: bool = False
    #: Seconds before the request is handled, and before its answer leaves.
    delay_before: float = 0.0
    delay_after: float = 0.0
    #: Cut the connection: before doing the thing, or after having done it.
    drop: str | None = None
    struck: list[RestCall] = field(default_factory=list)
    cancelled: bool = False

    @property
    def hits(self) -> int:
        """How many requests it has struck."""
        return len(self.struck)

    @property
    def spent(self) -> bool:
        return self.cancelled or (self.times is not None and self.hits >= self.times)

    def cancel(self) -> None:
        self.cancelled = True

    def __post_init__(self) -> None:
        self._pattern = route_pattern(self.route)

    def applies_to(self, call: RestCall) -> bool:
        return (
            not self.spent
            and self.method in ("*", call.method)
            and self._pattern.fullmatch(call.path) is not None
            and (self.where is None or self.where(call))
        )


Where = Callable[[RestCall], bool] | None


class Faults:
    """The rules in force, oldest first; a request meets the first that applies.

    Every method takes a method ("POST", or "*"), a route ("/channels/{id}/messages", or "*"), how
    many requests to strike (`times=None`: all until cancelled) and optionally `where`, a predicate
    on the RestCall (its `.json`, `.path` …). It returns the Fault, which counts its `hits`.
    """

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def fail(
        self,
        method: str,
        route: str,
        *,
        status: int = 500,
        code: int = 0,
        message: str = "Internal Server Error",
        times: int | None = 1,
        where: Where = None,
    ) -> Fault:
        """Refuses without doing anything. discord.py retries 500, 502, 504 and 524 itself."""
        return self._add(
            Fault(method, route, times, where, status=status, code=code, message=message)
        )

    def rate_limit(
        self,
        method: str,
        route: str,
        *,
        retry_after: float,
        times: int | None = 1,
        global_: bool = False,
        where: Where = None,
    ) -> Fault:
        """Answers 429 with Retry-After (seconds, as a float in the body)."""
        return self._add(
            Fault(method, route, times, where, retry_after=retry_after, global_=global_)
        )

    def delay(
        self,
        method: str,
        route: str,
        *,
        seconds: float,
        before: bool = True,
        times: int | None = 1,
        where: Where = None,
    ) -> Fault:
        """Is slow: before it acts (as a slow network is), or between acting and answering."""
        return self._add(
            Fault(
                method,
                route,
                times,
                where,
                delay_before=seconds if before else 0.0,
                delay_after=0.0 if before else seconds,
            )
        )

    def drop_before_response(
        self, method: str, route: str, *, times: int | None = 1, where: Where = None
    ) -> Fault:
        """Does what was asked, then cuts the connection: the client never hears of it."""
        return self._add(Fault(method, route, times, where, drop="response"))

    def drop_request(
        self, method: str, route: str, *, times: int | None = 1, where: Where = None
    ) -> Fault:
        """Cuts the connection without doing anything."""
        return self._add(Fault(method, route, times, where, drop="request"))

    def clear(self) -> None:
        for rule in self._rules:
            rule.cancel()
        self._rules.clear()

    def strike(self, call: RestCall) -> Fault | None:
        """The rule that a request meets, if any, and counts it."""
        self._rules = [rule for rule in self._rules if not rule.spent]
        for rule in self._rules:
            if rule.applies_to(call):
                rule.struck.append(call)
                return rule
        return None

    def _add(self, fault: Fault) -> Fault:
        self._rules.append(fault)
        return fault
