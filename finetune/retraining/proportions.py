"""How sure one can be of a share of something, and of the difference of two."""

from __future__ import annotations

import math

_ALTERNATIVES = 8  # greater shares that `surely_above` weighs against the bar


def surely_above(count: int, n: int, bar: float, level: float) -> bool:
    """Whether `count` of `n` come from a share above `bar`; wrong with chance `level` at most.

    That holds for all looks together, however often one looks while `n` grows: what is compared
    with 1 / `level` is the likelihood of greater shares against that of `bar` (Wald 1945), averaged
    over several of them (Robbins 1970). If the true share is `bar` or less, that average is a
    supermartingale, which gets so far at any time with chance `level` at most (Ville 1939).
    """
    if bar <= 0.0:
        return count > 0
    if bar >= 1.0:
        return False
    greater = [bar + (1 - bar) * 0.5**step for step in range(1, _ALTERNATIVES + 1)]
    logs = [
        count * math.log(share / bar) + (n - count) * math.log((1 - share) / (1 - bar))
        for share in greater
    ]
    most = max(logs)
    average = most + math.log(math.fsum(math.exp(one - most) for one in logs) / len(logs))
    return average >= -math.log(level)


def chance_of_more(count: int, n: int, other_count: int, other_n: int) -> float:
    """How likely `count` of `n` or more are by chance, if the other share is really the same.

    The one-sided p-value of Fisher's exact test (1935), right for few and for no events too.
    """
    events, all_of_them = count + other_count, n + other_n
    most = min(events, n)
    if count <= max(0, events - other_n):
        return 1.0
    whole = _log_choose(all_of_them, events)
    chance = math.fsum(
        math.exp(_log_choose(n, k) + _log_choose(other_n, events - k) - whole)
        for k in range(count, most + 1)
    )
    return min(chance, 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
