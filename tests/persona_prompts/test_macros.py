from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_prompts.macros import MAX_DEPTH, Scene, Values, duration, fill
from tests.persona_prompts.test_speakers import ANY_TEXT

SCENE = Scene(seed=7, now=datetime(2026, 11, 5, 14, 3), idle=timedelta(hours=3))
VALUES = Values("Ada", "Ann", "the default", SCENE)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{char}} {{ CHAR }} <Bot> <char>", "Ada Ada Ada Ada"),
        ("{{user}} <USER>", "Ann Ann"),
        ("{{original}}", "the default"),
        ("a{{// a secret}}b{{//x}}c{{comment: y}}d{{hidden_key:z}}e{{noop}}", "abcde"),
        ("{{reverse:olleH}} {{reverse: e\u0301a }}", "Hello ae\u0301"),
        ("{{time}} {{isotime}} {{date}} {{isodate}} {{weekday}}",
         "14:03 14:03 5 November 2026 2026-11-05 Thursday"),
        ("{{idle_duration}}", "3 hours"),
        ("a{{newline}}b", "a\nb"),
        ("a\n\n{{trim}}\n\nb", "ab"),
        ("{{random:one}} {{random::one}} {{pick: one }}", "one one one"),
        (r"{{random:a\,b}}", "a,b"),
        ("{{random:{{user}},{{user}}}}", "Ann"),
        ("{{reverse:{{user}}}}", "nnA"),
        ("{{roll:1}} {{roll:d1}} {{roll 3D1+4}} {{roll:1d1-1}}", "1 1 7 0"),
        ("{{nothing}} {{user x}} {{char", "{{nothing}} {{user x}} {{char"),
        ("{{roll:maybe}} {{roll:0}} {{roll:9999d6}} {{random}} {{pick:}}",
         "{{roll:maybe}} {{roll:0}} {{roll:9999d6}} {{random}} {{pick:}}"),
        ("{{{user}}} }} {{ {{user}} {{x {{user}}}}", "{Ann} }} {{ Ann {{x Ann}}"),
        ("5 < 6 {x} <b>", "5 < 6 {x} <b>"),
    ],
)  # fmt: skip
def test_macros(text: str, filled: str) -> None:
    assert fill(text, VALUES) == filled


def test_what_a_macro_yields_is_never_read_again() -> None:
    values = Values("{{user}}", "{{random:x,y}},<char>", "{{char}}")
    assert fill("{{char}}|{{user}}|{{original}}|<bot>", values) == (
        "{{user}}|{{random:x,y}},<char>|{{char}}|{{user}}"
    )
    assert fill("{{random:{{user}},{{user}}}}", values) == "{{random:x,y}},<char>"
    assert fill("{{reverse:{{original}}}}", Values("A", "B", "}}resu{{")) == "{{user}}"


def test_without_a_clock_time_says_nothing() -> None:
    assert fill("[{{time}}{{date}}{{weekday}}{{idle_duration}}]", Values("A", "B")) == "[]"


def test_chance_is_the_scenes() -> None:
    text = "{{random:a,b,c,d,e,f}}{{random:a,b,c,d,e,f}}{{roll:d1000}} {{roll:d1000}}"
    first = fill(text, Values("A", "B", scene=Scene(seed=1)))
    assert first == fill(text, Values("A", "C", scene=Scene(seed=1)))
    drawn = {fill(text, Values("A", "B", scene=Scene(seed=seed))) for seed in range(50)}
    assert len(drawn) > 40
    pairs = [fill("{{random:a,b}}{{random:a,b}}", Values("A", "B", scene=Scene(n)))
             for n in range(50)]  # fmt: skip
    assert {"ab", "ba", "aa", "bb"} == set(pairs)


def test_a_pick_is_the_same_wherever_it_stands() -> None:
    for seed in range(20):
        values = Values("A", "B", scene=Scene(seed))
        picked = fill("{{pick:a,b,c}}{{pick:a,b,c}}", values)
        assert picked[0] == picked[1] == fill("elsewhere {{pick:a,b,c}}", values)[-1]


def test_chance_leaves_other_chance_alone() -> None:
    random.seed(3)
    before = random.getstate()
    fill("{{roll:6}}{{random:a,b}}", VALUES)
    assert random.getstate() == before


def test_dice_fall_within_their_sides() -> None:
    rolled = {int(fill("{{roll:2d6+1}}", Values("A", "B", scene=Scene(n)))) for n in range(400)}
    assert rolled == set(range(3, 14))


def test_keys_may_be_hidden() -> None:
    text = "{{// no}}{{comment:no}}{{hidden_key: casino {{user}}}}"
    assert fill(text, Values("A", "Bo", matching=True)) == " casino Bo"


@pytest.mark.parametrize(
    ("idle", "words"),
    [(0, "less than a minute"), (-5, "less than a minute"), (60, "1 minute"), (7300, "2 hours"),
     (86_400, "1 day"), (1e8, "1157 days")],
)  # fmt: skip
def test_durations(idle: float, words: str) -> None:
    assert duration(timedelta(seconds=idle)) == words


@settings(deadline=None)  # others use the machine, too
@given(ANY_TEXT)
def test_text_without_macros_stays(text: str) -> None:
    plain = text.replace("{", "").replace("<", "")
    assert fill(plain, VALUES) == plain
    fill(text, VALUES)


@settings(deadline=None)  # others use the machine, too
@given(st.lists(st.sampled_from(["{{", "}}", "{", "}", "user", "random:", ",", "::", "roll:2",
                                 "reverse:", "//", " ", "\n", "trim", "<user>", "x"])))  # fmt: skip
def test_nothing_breaks_it(pieces: list[str]) -> None:
    fill("".join(pieces), VALUES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "\n" * 16_000,
        lambda: "{{" * 8_000,
        lambda: "{{}}" * 4_000,
        lambda: "{{reverse:" * 1_600 + "}}" * 1_600,
        lambda: "{{roll:99d999999}}" * 900,
        lambda: "{{random:" + "a," * 7_900 + "}}",
        lambda: "\n" * 8_000 + "{{trim}}" + "\n" * 7_000,
        lambda: "{{" + " " * 15_000,
    ],
)
def test_no_text_takes_long(make: Callable[[], str]) -> None:
    begun = time.process_time()
    fill(make(), VALUES)
    assert time.process_time() - begun < 3  # what backtracks takes minutes


def test_macros_nest_only_so_far() -> None:
    assert MAX_DEPTH % 2 == 0
    text = "{{reverse:" * (MAX_DEPTH + 1) + "ab" + "}}" * (MAX_DEPTH + 1)
    assert fill(text, VALUES) == "{{reverse:ab}}"
