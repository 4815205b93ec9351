from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.retraining.proportions import chance_of_more, surely_above


def test_of_nothing_nothing_is_sure() -> None:
    assert not surely_above(0, 0, 0.05, 0.01)
    assert chance_of_more(0, 0, 5, 10) == 1.0
    assert chance_of_more(3, 3, 0, 0) == 1.0


def test_fisher_s_tea() -> None:
    """The lady tasting tea: 3 of 4 right by chance with 17 of 70, all 4 with 1 of 70."""
    assert chance_of_more(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert chance_of_more(4, 4, 0, 4) == pytest.approx(1 / 70)


@settings(deadline=None)
@given(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3), st.integers(0, 4))
def test_it_counts_the_ways_to_deal_the_events(a: int, b: int, c: int, d: int) -> None:
    count, n, other, others = a, a + b, c, c + d
    people = range(n + others)
    hands = list(itertools.combinations(people, count + other))
    as_many = sum(sum(person < n for person in hand) >= count for hand in hands)
    assert chance_of_more(count, n, other, others) == pytest.approx(as_many / len(hands))


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 5000), st.integers(0, 400), st.integers(0, 5000))
def test_it_is_a_probability_also_for_many(a: int, b: int, c: int, d: int) -> None:
    assert 0.0 <= chance_of_more(a, a + b, c, c + d) <= 1.0
    if a + b:
        assert not surely_above(a, a + b, a / (a + b), 0.02)


def test_more_events_are_less_likely() -> None:
    chances = [chance_of_more(count, 200, 6, 200) for count in range(6, 30)]
    assert all(later < earlier for earlier, later in itertools.pairwise(chances))
    assert chances[0] > 0.4
    assert chances[-1] < 1e-4
    assert not math.isnan(chances[-1])


@pytest.mark.parametrize(
    ("count", "n", "bar", "sure"),
    [
        (25, 200, 0.05, True),
        (14, 200, 0.05, False),  # 7 %
        (140, 2000, 0.05, True),
        (12, 12, 0.4, True),
        (20, 30, 0.4, False),
        (40, 60, 0.4, True),
        (5000, 5000, 1.0, False),
        (1, 5000, 0.0, True),
        (0, 5000, 0.0, False),
    ],
)
def test_what_is_surely_above_a_bar(count: int, n: int, bar: float, sure: bool) -> None:
    assert surely_above(count, n, bar, 0.02) == sure


@pytest.mark.parametrize(("share", "bar"), [(0.05, 0.05), (0.4, 0.4), (0.03, 0.05)])
def test_however_often_one_looks_it_is_wrong_as_seldom(share: float, bar: float) -> None:
    """At every single one of 200 histories' 500 tries, where it is wrong if ever it says so."""
    chance = random.Random(7)
    wrong = 0
    for _ in range(200):
        count = 0
        for n in range(1, 501):
            event = chance.random() < share
            count += event
            if event and surely_above(count, n, bar, 0.05):
                wrong += 1
                break
    assert wrong <= 0.05 * 200
