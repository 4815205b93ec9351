"""May the challenger take the champion's place? Figures in, a verdict out; nothing is read or run.

Every measure of repetition can be won by a broken model: a mute one repeats nothing. So a better
rate is not enough; the guards beside it (perplexity, distinct-2, length, endings, Recall, not one
refusal or failed reply) must hold too, and a figure that is missing or no number holds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config import GateSettings
from finetune.evaluation.figures import Figure
from finetune.evaluation.table import value_text

# The measures of which one must be better and none may be worse; the sign of what is worse.
COMPARED = {"IIR": 1, "XTR4": 1, "DupTurn": 1, "Open3": 1, "Recall": -1, "perplexity": 1}
_ROUNDING = 1e-9  # so that .95 × .400 is not missed by a last binary digit
_MOST_NAMED = 3  # failed checks that the reason spells out


@dataclass(frozen=True, slots=True)
class Contender:
    """What is known of one of the two.

    `figures` are named as in `finetune.evaluation.figures.evaluate`, with `perplexity`. `turns`
    counts the measured replies with k ≥ 1 that were not elicited, `failed` the replies that did not
    come or had no text, `refusals` those that refuse as an assistant does.
    """

    label: str
    figures: Mapping[str, Figure]
    turns: int
    failed: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One condition; `said` is a sentence with the numbers of both sides."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`promote`: every check passed. `reason` says in one sentence why, or why not."""

    promote: bool
    reason: str
    checks: tuple[Check, ...]
    better: tuple[str, ...]
    worse: tuple[str, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def as_json(self) -> dict[str, Any]:
        return {
            "promote": self.promote,
            "reason": self.reason,
            "checks": [
                {"name": check.name, "passed": check.passed, "said": check.said}
                for check in self.checks
            ],
            "better": list(self.better),
            "worse": list(self.worse),
        }


def judge(
    champion: Contender,
    challenger: Contender,
    thresholds: GateSettings,
    differences: Mapping[str, Figure] | None = None,
    usual_length: float | None = None,
) -> Verdict:
    """Whether `challenger` may take the place of `champion`.

    `differences` are challenger less champion with the interval of a paired bootstrap
    (`figures.paired_difference`). A measure that has one is better or worse where that interval
    lies beside zero; one that has none, where the intervals of both do not touch.
    `usual_length` is the mean number of words of the replies that the challenger learnt from: a
    champion that rambles must not bind its challenger to ramble.
    """
    court = _Court(champion, challenger, thresholds, differences or {}, usual_length)
    better = tuple(name for name in COMPARED if court.direction(name) == 1)
    worse = tuple(name for name in COMPARED if court.direction(name) == -1)
    checks = (
        court.turns(),
        court.failed(),
        court.refusals(),
        court.iir(),
        court.recall(),
        court.recall_drop(),
        court.perplexity(),
        court.distinct(),
        court.length(),
        court.endings(),
        court.better(better),
        court.worse(worse),
    )
    promote = all(check.passed for check in checks)
    return Verdict(promote, court.reason(checks, better), checks, better, worse)


@dataclass(frozen=True, slots=True)
class _Court:
    champion: Contender
    challenger: Contender
    thresholds: GateSettings
    differences: Mapping[str, Figure] = field(default_factory=dict)
    usual_length: float | None = None

    def direction(self, name: str) -> int:
        """1: the challenger is better beyond the interval; -1: worse; 0: neither, or not known."""
        old, new = _whole(self.champion, name), _whole(self.challenger, name)
        if old is None or new is None:
            return 0
        sign = COMPARED[name]
        difference = self.differences.get(name)
        if difference is not None and difference.low is not None and difference.high is not None:
            low, high = difference.low, difference.high
        else:
            low, high = new[0] - old[1], new[1] - old[0]  # of intervals that touch, 0 is between
        if sign < 0:
            low, high = -high, -low
        return 1 if high < 0 else -1 if low > 0 else 0

    # -- how much was seen, and what went wrong -----------------------------------------------

    def turns(self) -> Check:
        need = self.thresholds.min_turns
        old, new = self.champion, self.challenger
        # What the champion failed to answer was asked nevertheless.
        passed = new.turns >= need and old.turns + old.failed >= need
        return Check(
            "turns",
            passed,
            f"{new.turns} replies of {new.label} and {old.turns} of {old.label} were measured,"
            f" and {need} are needed.",
        )

    def failed(self) -> Check:
        count = self.challenger.failed
        said = f"{_replies(count)} of {self.challenger.label} failed ({self.champion.label}:"
        return Check("failed replies", count == 0, f"{said} {self.champion.failed}).")

    def refusals(self) -> Check:
        count = self.challenger.refusals
        said = f"{_replies(count)} of {self.challenger.label} refused ({self.champion.label}:"
        return Check("refusals", count == 0, f"{said} {self.champion.refusals}).")

    # -- the figures --------------------------------------------------------------------------

    def iir(self) -> Check:
        floor, share = self.thresholds.iir_floor, self.thresholds.iir_share

        def check(old: float, new: float) -> tuple[bool, str]:
            if old <= floor:
                return True, f"the champion's is not above {_plain(floor)}"
            most = max(share * old, floor)
            return new <= most + _ROUNDING, f"at most {_plain(most)} is allowed"

        return self._against("IIR", "IIR", check)

    def recall(self) -> Check:
        least = self.thresholds.min_recall
        return self._against(
            "Recall",
            "Recall",
            lambda _, new: (new >= least - _ROUNDING, f"at least {_plain(least)} is needed"),
        )

    def recall_drop(self) -> Check:
        asked = self.challenger.figures["Recall"].n if "Recall" in self.challenger.figures else 0
        # Half a missing answer cannot be seen: where few are asked, one miss is the least drop.
        drop = max(self.thresholds.recall_drop, 1 / asked if asked else 0.0)
        return self._against(
            "Recall beside the champion's",
            "Recall",
            lambda old, new: (
                new >= old - drop - _ROUNDING,
                f"at least {_plain(old - drop)} is needed",
            ),
        )

    def perplexity(self) -> Check:
        ratio = self.thresholds.perplexity_ratio
        return self._against(
            "perplexity",
            "perplexity",
            lambda old, new: (
                new <= ratio * old + _ROUNDING,
                f"at most {ratio * old:.2f} is allowed",
            ),
        )

    def distinct(self) -> Check:
        return self._at_least("distinct-2", self.thresholds.distinct_ratio)

    def endings(self) -> Check:
        return self._at_least("ends_by_itself", self.thresholds.ends_ratio)

    def length(self) -> Check:
        band = self.thresholds.length_band

        def check(old: float, new: float) -> tuple[bool, str]:
            usual = [old] if self.usual_length is None else [old, self.usual_length]
            bounds = [((1 - band) * length, (1 + band) * length) for length in usual if length > 0]
            passed = any(low - _ROUNDING <= new <= high + _ROUNDING for low, high in bounds)
            said = " or ".join(f"{low:.2f} to {high:.2f}" for low, high in bounds) or "nothing"
            return passed, f"{said} is allowed"

        return self._against("mean_length", "mean_length", check)

    def better(self, names: tuple[str, ...]) -> Check:
        said = (
            f"{self.challenger.label} is better on {self._changes(names)}, beyond the interval."
            if names
            else f"{self.challenger.label} is better than {self.champion.label} on none of"
            f" {', '.join(COMPARED)}, beyond the interval."
        )
        return Check("better on one", bool(names), said)

    def worse(self, names: tuple[str, ...]) -> Check:
        label = self.challenger.label
        if names:
            said = f"{label} is worse on {self._changes(names)}, beyond the interval."
            return Check("worse on none", False, said)
        unknown = [name for name in COMPARED if not self._comparable(name)]
        if unknown:
            said = f"{', '.join(unknown)} cannot be compared, so {label} may be worse."
            return Check("worse on none", False, said)
        return Check("worse on none", True, f"{label} is worse on nothing, beyond the interval.")

    def reason(self, checks: tuple[Check, ...], better: tuple[str, ...]) -> str:
        failed = [check for check in checks if not check.passed]
        if not failed:
            return (
                f"{self.challenger.label} is better than {self.champion.label} on"
                f" {self._changes(better)}, worse on nothing, and within every guard."
            )
        said = "; ".join(check.said.removesuffix(".") for check in failed[:_MOST_NAMED])
        more = len(failed) - _MOST_NAMED
        return f"{said}; and {more} more." if more > 0 else f"{said}."

    def _at_least(self, name: str, ratio: float) -> Check:
        return self._against(
            name,
            name,
            lambda old, new: (
                new >= ratio * old - _ROUNDING,
                f"at least {_plain(ratio * old)} is needed",
            ),
        )

    def _against(
        self, title: str, name: str, check: Callable[[float, float], tuple[bool, str]]
    ) -> Check:
        """A check of one figure of both; it fails where either is missing or no number."""
        for contender in (self.challenger, self.champion):
            if _value(contender, name) is None:
                return Check(title, False, f"{name} of {contender.label} was not measured.")
        old, new = _value(self.champion, name), _value(self.challenger, name)
        assert old is not None
        assert new is not None
        passed, bound = check(old, new)
        return Check(title, passed, f"{name} {self._change(name)}, and {bound}.")

    def _comparable(self, name: str) -> bool:
        if _whole(self.champion, name) is None or _whole(self.challenger, name) is None:
            return False
        difference = self.differences.get(name)
        bounds = () if difference is None else (difference.low, difference.high)
        return all(bound is None or math.isfinite(bound) for bound in bounds)

    def _changes(self, names: tuple[str, ...]) -> str:
        return ", ".join(f"{name} ({self._change(name)})" for name in names)

    def _change(self, name: str) -> str:
        old, new = self.champion.figures[name], self.challenger.figures[name]
        return f"{value_text(name, old)} → {value_text(name, new)}"


def _value(contender: Contender, name: str) -> float | None:
    figure = contender.figures.get(name)
    if figure is None or figure.value is None or not math.isfinite(figure.value):
        return None
    return figure.value


def _whole(contender: Contender, name: str) -> tuple[float, float] | None:
    """The interval of a figure, if it and its value are numbers."""
    figure = contender.figures.get(name)
    if figure is None or _value(contender, name) is None:
        return None
    if figure.low is None or figure.high is None:
        return None
    bounds = (figure.low, figure.high)
    return bounds if all(map(math.isfinite, bounds)) else None


def _replies(count: int) -> str:
    if count == 0:
        return "No reply"
    return "1 reply" if count == 1 else f"{count} replies"


def _plain(value: float) -> str:
    return value_text("", Figure(value, None, None, 0))
