from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.retraining.proportions import chance_of_more, wilson_low


@pytest.mark.parametrize(
    ("count", "n", "low"),
    # computed by hand from Wilson's formula; 5 of 10 stands in Newcombe 1998 as .2366
    [(0, 10, 0.0), (5, 10, 0.2366), (10, 10, 0.7225), (81, 263, 0.2553), (15, 148, 0.0624)],
)
def test_wilson_s_interval(count: int, n: int, low: float) -> None:
    assert wilson_low(count, n) == pytest.approx(low, abs=5e-5)


def test_of_nothing_nothing_is_sure() -> None:
    assert wilson_low(0, 0) == 0.0
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
    assert 0.0 <= wilson_low(a, a + b) <= 1.0
    if a + b:
        assert wilson_low(a, a + b) <= a / (a + b) + 1e-12


def test_more_events_are_less_likely() -> None:
    chances = [chance_of_more(count, 200, 6, 200) for count in range(6, 30)]
    assert all(later < earlier for earlier, later in itertools.pairwise(chances))
    assert chances[0] > 0.4
    assert chances[-1] < 1e-4
    assert not math.isnan(chances[-1])
