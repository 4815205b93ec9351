"""What live rates mean for a version on trial, and for one that was promoted. Nothing is read here.

Both are looked at every hour, and what is unlikely at one look is likely at one of a thousand. So a
limit counts as passed only where `surely_above` says so, whose error is that of all looks together.
Two versions are compared by Fisher's exact test, at p < .001 only, which keeps the error of many
looks small as well (Haybittle 1971, Peto et al. 1976); a trial is judged in its end at p < .05.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from config import CanarySettings
from finetune.retraining.live_rates import LiveRates, Share
from finetune.retraining.proportions import chance_of_more, surely_above
from inference.adapters import Canary

_IN_THE_END = 0.05
_BEFORE = 0.001
# How likely a version that is within a limit is past it at any of all looks: 5 % for both kinds.
_AT_ANY_LOOK = 0.025


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: make it the version for all, take it back, or (`keep`) leave all as it is.

    `reason` is a sentence without its full stop, with the numbers.
    """

    act: Literal["promote", "back", "keep"]
    reason: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the two things that are watched."""

    verb: str
    noun: str
    of: Callable[[LiveRates], Share]
    least: Callable[[CanarySettings], int]
    limit: Callable[[CanarySettings], float]

    def said(self, rates: LiveRates) -> str:
        share = self.of(rates)
        return f"{share.part} of {share.n} {self.noun} ({share.value:.1%})"


_IIR = _Kind(
    "introduces itself unasked in",
    "replies",
    lambda rates: rates.iir,
    lambda settings: settings.min_replies,
    lambda settings: settings.max_iir,
)
_DISLIKED = _Kind(
    "is disliked in",
    "votes",
    lambda rates: rates.disliked,
    lambda settings: settings.min_votes,
    lambda settings: settings.max_disliked,
)
_KINDS = (_IIR, _DISLIKED)


def judge_trial(
    tried: LiveRates,
    champion: LiveRates,
    canary: Canary,
    settings: CanarySettings,
    *,
    now: float,
) -> Verdict | None:
    """What becomes of a trial; None: it goes on.

    `champion` is what the version in use did over the same days, in the other channels. A trial
    past a limit ends at once, unless the champion is past it, too, and worse.
    """
    for kind in _KINDS:
        mine, other = kind.of(tried), kind.of(champion)
        enough = mine.n >= kind.least(settings)
        limit = kind.limit(settings)
        better = _more(other, mine, _IN_THE_END)
        if enough and surely_above(*mine, limit, _AT_ANY_LOOK) and not better:
            return Verdict("back", f"{_told(kind, tried)}, past the limit of {limit:.0%}")
        if enough and _more(mine, other, _IN_THE_END if now >= canary.until else _BEFORE):
            beside = f"beside {kind.said(champion)} in the other channels"
            return Verdict("back", f"{_told(kind, tried)}, {beside}")
    if now < canary.until:
        return None
    replies, least = tried.iir, settings.min_replies
    if replies.n < least:
        if now < canary.given_up_at:
            return None
        return Verdict("back", f"only {replies.n} replies could be judged, and {least} are needed")
    compared = "; ".join(f"{_told(kind, tried)}, beside {kind.said(champion)}" for kind in _KINDS)
    return Verdict("promote", f"it did no worse than the other channels' version: {compared}")


def judge_promoted(
    current: LiveRates, before: LiveRates, settings: CanarySettings, *, month: int = 0
) -> Verdict | None:
    """Whether a promoted version is taken back; None: it is within its limits.

    `current` is what it did in its `month`, counted from 0, so far. `before` is what the version to
    go back to did in its last days. Where that is known and was not surely better, going back might
    not help, and the verdict is to keep what is there.
    """
    spent = 1 / ((month + 1) * (month + 2))  # of the chances to err; all months add up to 1
    kept = None
    for kind in _KINDS:
        now, then = kind.of(current), kind.of(before)
        least, limit = kind.least(settings), kind.limit(settings)
        if now.n < least or not surely_above(*now, limit, _AT_ANY_LOOK * spent):
            continue
        said = f"{_told(kind, current)}, past the limit of {limit:.0%}"
        known = kind.said(before)
        if then.n < least or _more(now, then, 2 * _BEFORE * spent):
            return Verdict("back", f"{said}; the version before: {known}")
        kept = Verdict("keep", f"{said}, but not surely worse than the version before: {known}")
    return kept


def past_a_limit(current: LiveRates, settings: CanarySettings, *, month: int = 0) -> bool:
    """Whether `judge_promoted` has anything to say, whatever was before."""
    return judge_promoted(current, LiveRates(), settings, month=month) is not None


def _told(kind: _Kind, rates: LiveRates) -> str:
    return f"it {kind.verb} {kind.said(rates)}"


def _more(share: Share, other: Share, level: float) -> bool:
    """Whether `share` is surely the greater one."""
    return chance_of_more(share.part, share.n, other.part, other.n) < level
