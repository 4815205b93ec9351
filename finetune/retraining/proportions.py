"""How sure one can be of a share of something, and of the difference of two."""

from __future__ import annotations

import math

_Z = 1.959963984540054  # of the 95 % interval


def wilson_low(count: int, n: int) -> float:
    """Lower end of the 95 % interval of the share `count` / `n` (Wilson 1927); 0 for none."""
    if n == 0:
        return 0.0
    share, z2 = count / n, _Z * _Z
    middle = share + z2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max((middle - half) / (1 + z2 / n), 0.0)


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
