"""Text from outside, made safe."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.plain_text import NAME_LENGTH, NAMELESS, display_name, single_spaced, well_formed

ANYTHING = st.text(st.characters(exclude_categories=[]), max_size=100)  # surrogates too
patient = settings(deadline=None)  # the machine may be busy with other things


@patient
@given(ANYTHING)
def test_whatever_comes_can_be_stored(text: str) -> None:
    well_formed(text).encode("utf-8")
    assert "\0" not in well_formed(text)


@patient
@given(ANYTHING)
def test_a_name_is_one_short_line_of_visible_characters(name: str) -> None:
    shown = display_name(name)
    assert 0 < len(shown) <= NAME_LENGTH
    assert len(shown.splitlines()) == 1
    assert shown == display_name(shown)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert well_formed("\ud83d\ude42 and \ud83d") == "🙂 and \ufffd"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann", "Ann"),
        ("  Ann \n Lee ", "Ann Lee"),
        ("\x00\x01\x1b", NAMELESS),
        ("\u202eevil", "evil"),
        ("", NAMELESS),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_single_spaced() -> None:
    assert single_spaced(" a\n\n b\tc ") == "a b c"
