"""Splitting long replies: limits, words, graphemes, code blocks, and stability while streaming."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.splitting import split

WORDS = st.lists(st.text("abcdefghij", min_size=1, max_size=30), min_size=1, max_size=120)
CODE_TEXT = st.lists(
    st.sampled_from(
        [
            "word",
            " ",
            "\n",
            "\n\n",
            "```",
            "```py\n",
            "x = 1\n",
            "`",
            "``",
            "a" * 30,
            "。",
            "漢字",
            "👩‍👩‍👧‍👦",
            "e\u0301",
        ]
    ),
    max_size=60,
).map("".join)
ANY_TEXT = st.text(max_size=400)
LIMITS = st.integers(64, 130)

patient = settings(deadline=None)  # the machine may be busy with other things


def test_a_text_at_the_limit_stays_whole() -> None:
    assert split("a" * 2000) == ["a" * 2000]
    assert split("a" * 2001) == ["a" * 2000, "a"]
    assert split("🙂" * 2000) == ["🙂" * 2000]


def test_nothing_is_no_message() -> None:
    assert split("") == []
    assert split(" \n ") == []


@patient
@given(WORDS, LIMITS)
def test_words_stay_whole(words: list[str], limit: int) -> None:
    pieces = split(" ".join(words), limit)
    assert " ".join(pieces).split() == words


def test_paragraphs_are_preferred_to_lines_and_lines_to_words() -> None:
    text = "a " * 25 + "\n\n" + "b " * 10 + "\n" + "c " * 20
    assert [piece[0] for piece in split(text, 64)] == ["a", "b"]
    assert split("a " * 20 + "\n" + "b " * 20, 64)[0] == ("a " * 20).strip()


@patient
@given(st.one_of(ANY_TEXT, CODE_TEXT), LIMITS)
def test_no_piece_is_too_long_or_blank(text: str, limit: int) -> None:
    for piece in split(text, limit):
        assert len(piece) <= limit
        assert piece.strip()


@patient
@given(st.text(max_size=400), LIMITS)
def test_nothing_but_whitespace_is_lost(text: str, limit: int) -> None:
    text = text.replace("`", "")
    joined = "".join(split(text, limit))
    assert "".join(joined.split()) == "".join(text.split())


@patient
@given(
    st.lists(st.sampled_from(["👩‍👩‍👧‍👦", "🇰🇷", "한", "e\u0301", "नि", "漢"]), max_size=150), LIMITS
)
def test_graphemes_stay_whole(clusters: list[str], limit: int) -> None:
    text = "".join(clusters)
    whole = regex.findall(r"\X", text)
    assert [part for piece in split(text, limit) for part in regex.findall(r"\X", piece)] == whole


@patient
@given(CODE_TEXT, LIMITS)
@example("a" * 57 + "```py\n" + "b" * 80, 64)
def test_growing_text_moves_nothing_that_was_shown(text: str, limit: int) -> None:
    before: list[str] = []
    for end in range(len(text) + 1):
        now = split(text[:end], limit)
        assert now[: len(before) - 1] == before[:-1]
        assert len(now) >= len(before)
        before = now


@patient
@given(CODE_TEXT, LIMITS)
def test_every_piece_closes_its_code_blocks(text: str, limit: int) -> None:
    for piece in split(text, limit):
        assert len(re.findall("```", piece)) % 2 == 0


def test_a_code_block_is_reopened_with_its_language() -> None:
    text = "Look:\n```py\n" + "\n".join(f"line_{n} = {n}" for n in range(20)) + "\n```\nDone."
    pieces = split(text, 100)
    assert len(pieces) > 2
    assert pieces[0].startswith("Look:\n```py\n")
    assert all(piece.startswith("```py\n") for piece in pieces[1:])
    assert all("```" in piece[3:] for piece in pieces)
    code = [line for piece in pieces for line in piece.splitlines() if line.startswith("line_")]
    assert code == [f"line_{n} = {n}" for n in range(20)]
    assert pieces[-1].endswith("Done.")


def test_a_closing_fence_alone_makes_no_empty_block() -> None:
    text = "```\n" + "a" * 55 + "\n```"
    assert split(text, 64)[0].startswith("```\n")
    assert all(piece.strip("`\n") for piece in split(text, 64))


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        split("text", 10)
