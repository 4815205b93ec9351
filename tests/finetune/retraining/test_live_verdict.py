"""What live rates lead to: pure functions, against made-up versions of every kind."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import CanarySettings
from finetune.retraining.live_rates import LiveRates
from finetune.retraining.live_verdict import judge_promoted, judge_trial
from inference.adapters import Canary

DAY = 86_400.0
SETTINGS = CanarySettings()  # 100 replies, IIR .05; 20 votes, .4 disliked
CANARY = Canary(version=2, champion=1, share=0.2, since=0, until=3 * DAY)
DURING, END, GIVEN_UP = DAY, 3 * DAY, 6 * DAY

rates = st.builds(
    lambda replies, introduces, votes, dislikes: LiveRates(
        replies, min(introduces, replies), votes, min(dislikes, votes)
    ),
    *[st.integers(0, 400)] * 4,
)


def trial(tried: LiveRates, champion: LiveRates, now: float = END) -> tuple[str, str]:
    verdict = judge_trial(tried, champion, CANARY, SETTINGS, now=now)
    return ("on", "") if verdict is None else (verdict.act, verdict.reason)


GOOD = LiveRates(200, 1, 40, 4)


@pytest.mark.parametrize(
    ("tried", "champion", "now", "act", "said"),
    [
        (GOOD, GOOD, DURING, "on", ""),
        (GOOD, GOOD, END, "promote", "1 of 200 replies (0.5%), beside 1 of 200"),
        (GOOD, LiveRates(), END, "promote", "beside 0 of 0 replies"),
        (LiveRates(), GOOD, END, "on", ""),
        (LiveRates(99, 0), GOOD, END, "on", ""),
        (LiveRates(99, 0), GOOD, GIVEN_UP, "back", "only 99 replies could be judged, and 100"),
        (LiveRates(100, 0), GOOD, END, "promote", ""),
        # past a limit: at once
        (LiveRates(200, 25), GOOD, DURING, "back", "25 of 200 replies (12.5%), past the limit"),
        (LiveRates(200, 2, 30, 25), GOOD, DURING, "back", "disliked in 25 of 30 votes"),
        (LiveRates(200, 11), LiveRates(200, 11), DURING, "on", ""),  # 5.5 %: it may be chance
        (LiveRates(60, 30), GOOD, DURING, "on", ""),  # too few
        (LiveRates(200, 2, 19, 19), GOOD, DURING, "on", ""),
        # past a limit, and yet far better than what everybody has
        (LiveRates(200, 25), LiveRates(800, 400), END, "promote", ""),
        (LiveRates(200, 25), LiveRates(800, 110), END, "back", "past the limit"),
        # worse than the champion
        (LiveRates(300, 9), LiveRates(900, 7), DURING, "on", ""),
        (LiveRates(300, 9), LiveRates(900, 7), END, "back", "beside 7 of 900 replies (0.8%)"),
        (LiveRates(400, 20), LiveRates(900, 2), DURING, "back", "beside 2 of 900"),
        (LiveRates(300, 2, 100, 35), LiveRates(900, 6, 300, 60), END, "back", "35 of 100 votes"),
        (LiveRates(300, 2, 100, 35), LiveRates(900, 6, 300, 60), DURING, "on", ""),
        (LiveRates(300, 5), LiveRates(900, 7), END, "promote", ""),  # no more than chance
    ],
)  # fmt: skip
def test_a_trial(tried: LiveRates, champion: LiveRates, now: float, act: str, said: str) -> None:
    did, reason = trial(tried, champion, now)
    assert did == act
    assert said in reason
    assert "\n" not in reason


@settings(deadline=None)
@given(rates, rates)
def test_a_trial_is_decided_in_the_end(tried: LiveRates, champion: LiveRates) -> None:
    act, reason = trial(tried, champion, GIVEN_UP)
    assert act in ("promote", "back")
    assert reason


@settings(deadline=None)
@given(rates, rates, st.sampled_from([DURING, END]))
def test_what_always_introduces_itself_never_gets_past_a_champion_within_its_limit(
    tried: LiveRates, champion: LiveRates, now: float
) -> None:
    if tried.replies >= SETTINGS.min_replies and champion.iir.value <= SETTINGS.max_iir:
        always = LiveRates(tried.replies, tried.replies, tried.votes, tried.dislikes)
        assert trial(always, champion, now)[0] == "back"


@settings(deadline=None)
@given(rates)
def test_a_trial_without_end_is_never_promoted_before(tried: LiveRates) -> None:
    assert trial(tried, GOOD, DURING)[0] in ("on", "back")


@pytest.mark.parametrize(
    ("current", "before", "act", "said"),
    [
        (GOOD, GOOD, "fine", ""),
        (LiveRates(), GOOD, "fine", ""),
        (LiveRates(99, 99), GOOD, "fine", ""),  # too few
        (LiveRates(200, 14), GOOD, "fine", ""),  # 7 %: it may be chance
        (LiveRates(200, 30), GOOD, "back", "30 of 200 replies (15.0%), past the limit of 5%"),
        (LiveRates(200, 30), LiveRates(200, 28), "keep", "not surely worse than"),
        (LiveRates(200, 30), LiveRates(200, 60), "keep", "60 of 200"),
        (LiveRates(200, 60), LiveRates(200, 30), "back", "the version before: 30 of 200"),
        (LiveRates(200, 30), LiveRates(), "back", "the version before: 0 of 0"),
        (LiveRates(200, 0, 60, 45), GOOD, "back", "disliked in 45 of 60 votes (75.0%)"),
        (LiveRates(200, 0, 60, 45), LiveRates(200, 0, 60, 40), "keep", "40 of 60 votes"),
        (LiveRates(200, 0, 30, 20), GOOD, "fine", ""),  # likely at one look of a thousand
        (LiveRates(200, 0, 19, 19), GOOD, "fine", ""),
        # as many introductions as before, but disliked, which was not so before
        (LiveRates(200, 30, 30, 25), LiveRates(200, 30, 60, 5), "back", "disliked in"),
    ],
)  # fmt: skip
def test_a_promoted_version(current: LiveRates, before: LiveRates, act: str, said: str) -> None:
    verdict = judge_promoted(current, before, SETTINGS)
    assert (verdict.act if verdict else "fine") == act
    assert said in (verdict.reason if verdict else "")


@settings(deadline=None)
@given(rates, rates)
def test_nothing_is_taken_back_for_something_known_to_be_as_bad(
    current: LiveRates, before: LiveRates
) -> None:
    verdict = judge_promoted(current, before, SETTINGS)
    if verdict is not None and verdict.act == "back":
        iir = current.iir.value > before.iir.value or before.replies < SETTINGS.min_replies
        votes = current.disliked.value > before.disliked.value or before.votes < SETTINGS.min_votes
        assert iir or votes


# -- a whole watch: looked at every hour for two months --------------------------------------------

HISTORIES = 120
AS_BEFORE = [  # introduces itself, is disliked
    (0.02, 0.2),
    (0.05, 0.4),  # at both limits
    (0.08, 0.5),  # past both, as the version before was
]


def share_taken_back(iir: float, disliked: float, before: tuple[float, float]) -> float:
    """Of so many histories of a version with these true rates, after one with those `before`."""
    chance = random.Random(1)

    def more(rates: LiveRates, replies: int, votes: int, iir: float, disliked: float) -> None:
        rates.replies += replies
        rates.introductions += sum(chance.random() < iir for _ in range(replies))
        rates.votes += votes
        rates.dislikes += sum(chance.random() < disliked for _ in range(votes))

    def is_taken_back() -> bool:
        earlier = LiveRates()
        more(earlier, 300, 60, *before)
        for month in range(2):
            current = LiveRates()
            for _ in range(240):  # of three hours each: many looks differ by no reply
                more(current, 6, 1, iir, disliked)
                verdict = judge_promoted(current, earlier, SETTINGS, month=month)
                if verdict is not None and verdict.act == "back":
                    return True
        return False

    return sum(is_taken_back() for _ in range(HISTORIES)) / HISTORIES


@pytest.mark.parametrize("rates", AS_BEFORE)
def test_a_version_as_good_as_the_last_one_stays_however_often_it_is_looked_at(
    rates: tuple[float, float],
) -> None:
    assert share_taken_back(*rates, before=rates) <= 0.05


@pytest.mark.parametrize(
    ("iir", "disliked"), [(0.15, 0.2), (0.02, 0.75)], ids=["introduces itself", "is disliked"]
)
def test_a_clearly_worse_one_is_taken_back(iir: float, disliked: float) -> None:
    assert share_taken_back(iir, disliked, before=(0.02, 0.2)) >= 0.95
