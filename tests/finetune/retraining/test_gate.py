"""The gate against figures of every kind; `test_contenders.py` has bots that really talk."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from config import GateSettings
from finetune.evaluation.figures import Figure
from finetune.retraining.gate import COMPARED, Contender, Verdict, judge
from tests.finetune.retraining.contestants import CHAMPION, CURED, contender

GATE = GateSettings()
OLD = contender("default@3", CHAMPION)


def against(figures: Any = CURED, *, old: Contender = OLD, **counts: Any) -> Verdict:
    return judge(old, contender("default@4", figures, **counts), GATE)


def failed(verdict: Verdict) -> set[str]:
    assert verdict.promote == (not verdict.failed)
    return {check.name for check in verdict.failed}


def test_the_cured_one_is_promoted() -> None:
    verdict = against()
    assert verdict.promote
    assert verdict.better == ("IIR",)
    assert verdict.worse == ()
    assert verdict.reason == (
        "default@4 is better than default@3 on IIR (.120 → .004), worse on nothing, and within"
        " every guard."
    )


def test_the_same_again_is_not_promoted() -> None:
    verdict = against(CHAMPION)
    assert failed(verdict) == {"IIR", "better on one"}
    assert "at most .060 is allowed" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # every threshold on both of its sides
        ({"IIR": (0.060, 0.030, 0.079)}, set()),
        ({"IIR": (0.061, 0.030, 0.079)}, {"IIR"}),
        ({"Recall": (0.880, 0.830, 0.930)}, set()),
        ({"Recall": (0.879, 0.830, 0.930)}, {"Recall beside the champion's"}),
        ({"perplexity": (13.02, 12.0, 14.0)}, set()),
        ({"perplexity": (13.03, 12.0, 14.0)}, {"perplexity"}),
        ({"distinct-2": (0.380, 0.36, 0.40)}, set()),
        ({"distinct-2": (0.379, 0.36, 0.40)}, {"distinct-2"}),
        ({"mean_length": (13.5, 13, 14)}, set()),
        ({"mean_length": (13.4, 13, 14)}, {"mean_length"}),
        ({"mean_length": (22.5, 22, 23)}, set()),
        ({"mean_length": (22.6, 22, 23)}, {"mean_length"}),
        ({"ends_by_itself": (0.931, 0.9, 0.96)}, set()),
        ({"ends_by_itself": (0.930, 0.9, 0.96)}, {"ends_by_itself"}),
        # worse beyond the interval, each of the six
        ({"XTR4": (0.09, 0.071, 0.12)}, {"worse on none"}),
        ({"XTR4": (0.09, 0.070, 0.12)}, set()),
        ({"DupTurn": (0.10, 0.081, 0.12)}, {"worse on none"}),
        ({"Open3": (0.20, 0.131, 0.25)}, {"worse on none"}),
        (
            {"Recall": (0.81, 0.78, 0.839)},
            {"worse on none", "Recall beside the champion's"},
        ),
        ({"perplexity": (13.0, 13.31, 14.0)}, {"worse on none"}),
        ({"IIR": (0.19, 0.171, 0.2)}, {"worse on none", "IIR", "better on one"}),
    ],
)
def test_each_threshold(changes: dict[str, Any], expected: set[str]) -> None:
    assert failed(against({**CURED, **changes})) == expected


BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    # it repeats nothing, for it says nothing
    "mute": (
        dict.fromkeys(CHAMPION, (None, None, None)) | {"perplexity": (12.4, 11.6, 13.3)},
        {"turns": 0, "failed": 320},
        {"turns", "failed replies", "IIR", "Recall", "distinct-2", "mean_length", "worse on none"},
    ),
    "half mute": (CURED, {"failed": 120}, {"failed replies"}),
    "one failed reply": (CURED, {"failed": 1}, {"failed replies"}),
    "one refusal": (CURED, {"refusals": 1}, {"refusals"}),
    "too little seen": (CURED, {"turns": 199}, {"turns"}),
    "forgets its name": (
        {**CURED, "Recall": (0.1, 0.02, 0.2)},
        {},
        {"Recall", "Recall beside the champion's", "worse on none"},
    ),
    "wins every repetition measure as word salad": (
        {
            **dict.fromkeys(("IIR", "XTR4", "DupTurn", "Open3"), (0.0, 0.0, 0.0)),
            "Recall": (1.0, 1.0, 1.0),
            "perplexity": (91.0, 80.0, 99.0),
            "distinct-2": (0.99, 0.98, 1.0),
            "mean_length": (18.0, 17.0, 19.0),
            "ends_by_itself": (0.95, 0.93, 0.97),
        },
        {},
        {"perplexity", "worse on none"},
    ),
    "never ends": ({**CURED, "ends_by_itself": (0.0, 0.0, 0.0)}, {}, {"ends_by_itself"}),
    "infinitely unlikely": (
        {**CURED, "perplexity": (math.inf, math.inf, math.inf)},
        {},
        {"perplexity", "worse on none"},
    ),
    "no number": (
        dict.fromkeys(CHAMPION, (math.nan, math.nan, math.nan)),
        {},
        {"IIR", "Recall", "perplexity", "distinct-2", "mean_length", "ends_by_itself"},
    ),
    "bounds that are no numbers": (
        {**CURED, "XTR4": (0.01, math.nan, 0.02)},
        {},
        {"worse on none"},
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_broken_are_rejected_for_what_is_broken(kind: str) -> None:
    figures, counts, expected = BROKEN[kind]
    verdict = against(figures, **counts)
    assert not verdict.promote
    assert expected <= failed(verdict)
    json.dumps(verdict.as_json(), allow_nan=False)
    assert verdict.reason.endswith(".")
    assert "\n" not in verdict.reason


@pytest.mark.parametrize("name", CHAMPION)
@pytest.mark.parametrize("side", ["champion", "challenger"])
def test_what_was_not_measured_cannot_pass(name: str, side: str) -> None:
    whole = {"champion": dict(CHAMPION), "challenger": dict(CURED)}
    del whole[side][name]
    made = {each: contender(each, figures) for each, figures in whole.items()}
    verdict = judge(made["champion"], made["challenger"], GATE)
    assert not verdict.promote
    assert name in verdict.reason


def test_a_champion_near_nothing_asks_for_no_half() -> None:
    """IIR of .008 cannot be halved visibly; being better elsewhere is enough."""
    old = contender("default@3", {**CHAMPION, "IIR": (0.008, 0.0, 0.02)})
    new = {**CHAMPION, "IIR": (0.012, 0.0, 0.025), "Open3": (0.02, 0.01, 0.04)}
    assert against(new, old=old).better == ("Open3",)
    assert against(new, old=old).promote


def test_above_the_floor_the_floor_is_enough() -> None:
    old = contender("default@3", {**CHAMPION, "IIR": (0.015, 0.012, 0.02)})
    assert against({**CURED, "IIR": (0.010, 0.004, 0.011)}, old=old).promote
    assert failed(against({**CURED, "IIR": (0.011, 0.004, 0.0119)}, old=old)) == {"IIR"}


def test_intervals_of_no_width_at_zero_are_equal_not_better() -> None:
    nothing = {**CHAMPION, "IIR": (0.0, 0.0, 0.0)}
    verdict = against(nothing, old=contender("default@3", nothing))
    assert (verdict.better, verdict.worse) == ((), ())
    assert failed(verdict) == {"better on one"}


def test_the_paired_difference_decides_where_there_is_one() -> None:
    """Scripts differ more than the contenders do; only the pair shows what is better."""
    near = {**CHAMPION, "IIR": (0.050, 0.020, 0.090)}
    assert against(near).better == ()
    new = contender("default@4", near)
    clear = {"IIR": Figure(-0.07, -0.10, -0.04, 240)}
    assert judge(OLD, new, GATE, clear).better == ("IIR",)
    assert judge(OLD, new, GATE, clear).promote
    for unclear in (Figure(-0.07, -0.15, 0.01, 240), Figure(-0.07, -0.1, 0.0, 240)):
        assert judge(OLD, new, GATE, {"IIR": unclear}).better == ()
    worse = {"Open3": Figure(0.05, 0.01, 0.09, 240)}
    assert failed(judge(OLD, contender("default@4", CURED), GATE, worse)) == {"worse on none"}


@pytest.mark.parametrize(("asked", "allowed"), [(12, 0.917), (13, 0.924), (50, 0.98), (200, 0.98)])
def test_one_answer_fewer_is_no_drop_of_recall(asked: int, allowed: float) -> None:
    old = contender("old", {**CHAMPION, "Recall": (1.0, 0.9, 1.0)}, turns=asked)
    for recall, passes in ((allowed, True), (allowed - 0.002, False)):
        new = contender("new", {**CURED, "Recall": (recall, 0.8, 1.0)}, turns=asked)
        names = failed(judge(old, new, GateSettings(min_turns=1)))
        assert ("Recall beside the champion's" not in names) is passes


def test_for_recall_more_is_better() -> None:
    new = contender("default@4", CURED)
    assert judge(OLD, new, GATE, {"Recall": Figure(0.05, 0.01, 0.09, 60)}).better == (
        "IIR",
        "Recall",
    )
    assert judge(OLD, new, GATE, {"Recall": Figure(-0.01, -0.02, -0.001, 60)}).worse == ("Recall",)


def test_a_difference_without_interval_leaves_it_to_the_figures() -> None:
    few = {"IIR": Figure(-0.1, None, None, 3)}
    assert judge(OLD, contender("default@4", CURED), GATE, few).better == ("IIR",)


def test_a_difference_that_is_no_number_passes_nothing() -> None:
    lost = {"XTR4": Figure(math.nan, math.nan, math.nan, 240)}
    verdict = judge(OLD, contender("default@4", CURED), GATE, lost)
    assert failed(verdict) == {"worse on none"}
    assert "XTR4 cannot be compared" in verdict.reason


def test_thresholds_are_those_of_the_configuration() -> None:
    strict = GateSettings(min_turns=241, iir_share=0.01, min_recall=0.95)
    verdict = judge(OLD, contender("default@4", CURED), strict)
    assert failed(verdict) == {"turns", "Recall"}
    lax = GateSettings(min_turns=1, length_band=5.0)
    assert judge(OLD, contender("x", {**CURED, "mean_length": (60, 50, 70)}), lax).promote


@pytest.mark.parametrize(
    ("words", "passed"), [(9.0, True), (7.5, True), (7.4, False), (13.0, False), (18.0, True)]
)
def test_a_challenger_may_be_as_long_as_what_it_learnt_from(words: float, passed: bool) -> None:
    """Else nobody could follow a champion that rambles."""
    figures = {**CURED, "mean_length": (words, words - 1, words + 1)}
    verdict = judge(OLD, contender("default@4", figures), GATE, usual_length=10.0)
    assert verdict.promote is passed
    assert ("7.50 to 12.50" in str(verdict.as_json())) is True


def test_many_failures_are_one_sentence_that_counts_the_rest() -> None:
    verdict = against(BROKEN["mute"][0], turns=0, failed=320)
    assert "and 7 more." in verdict.reason
    assert "320 replies of default@4 failed" in verdict.reason


# -- for every pair of contenders ------------------------------------------------------------------

_NUMBER = some.one_of(some.none(), some.floats(-1, 50), some.just(math.nan), some.just(math.inf))
_SANE = some.tuples(some.floats(0, 1), some.floats(0, 0.2), some.floats(0, 0.2)).map(
    lambda three: (three[0], three[0] - three[1], three[0] + three[2])
)
_ANY = some.fixed_dictionaries(
    {}, optional={name: some.tuples(_NUMBER, _NUMBER, _NUMBER) for name in CHAMPION}
)
_WHOLE = some.fixed_dictionaries(dict.fromkeys(CHAMPION, _SANE))


@given(_ANY, _ANY, some.integers(0, 400), some.integers(0, 3), some.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_whatever_the_figures_a_verdict_comes_and_fits_its_checks(
    old: Any, new: Any, turns: int, failures: int, refusals: int
) -> None:
    champion = contender("a", old, turns=400)
    challenger = contender("b", new, turns=turns, failed=failures, refusals=refusals)
    verdict = judge(champion, challenger, GATE)
    assert json.loads(json.dumps(verdict.as_json(), allow_nan=False))["promote"] == verdict.promote
    assert verdict.promote == all(check.passed for check in verdict.checks)
    assert not set(verdict.better) & set(verdict.worse)
    if verdict.promote:
        assert verdict.better
        assert (failures, refusals) == (0, 0)
        assert turns >= GATE.min_turns
        for name in CHAMPION:
            value = challenger.figures[name].value
            assert value is not None
            assert math.isfinite(value)


@given(_WHOLE, _WHOLE)
@settings(max_examples=150, deadline=None)
def test_what_is_better_one_way_is_worse_the_other(old: Any, new: Any) -> None:
    a, b = contender("a", old), contender("b", new)
    there, back = judge(a, b, GATE), judge(b, a, GATE)
    assert there.better == back.worse
    assert there.worse == back.better
    assert not (there.promote and back.promote)


@given(_WHOLE)
@settings(max_examples=50, deadline=None)
def test_nobody_is_better_than_itself(figures: Any) -> None:
    verdict = judge(contender("a", figures), contender("b", figures), GATE)
    assert not verdict.promote
    assert verdict.better == verdict.worse == ()


@given(_WHOLE, some.sampled_from(sorted(CHAMPION)), some.floats(0.001, 5))
@settings(max_examples=150, deadline=None)
def test_becoming_worse_never_helps(new: Any, name: str, by: float) -> None:
    """Whatever of a challenger gets worse: who was rejected before stays rejected."""
    if name == "mean_length":
        return  # it has two bad sides
    sign = COMPARED.get(name, -1)  # the guards without one are better high
    worse = {**new, name: tuple(bound + sign * by for bound in new[name])}
    champion = contender("a", CHAMPION)
    if judge(champion, contender("b", worse), GATE).promote:
        assert judge(champion, contender("b", new), GATE).promote
