from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_prompts.identity.introductions import (
    elicits,
    gives_name,
    introduces,
    introductions,
    without_introductions,
)
from persona_prompts.identity.names import names_of
from tests.persona_prompts.identity.cases import (
    DOES_NOT,
    DOES_NOT_ELICIT,
    ELICITS,
    INTRODUCES,
    MIRELA,
)


@pytest.mark.parametrize(("names", "reply"), INTRODUCES)
def test_an_introduction_is_found(names: tuple[str, ...], reply: str) -> None:
    assert introduces(reply, names)
    assert introductions(reply, names)


@pytest.mark.parametrize(("names", "reply"), DOES_NOT)
def test_what_only_looks_like_one_is_not(names: tuple[str, ...], reply: str) -> None:
    assert introductions(reply, names) == []
    assert not introduces(reply, names)


@pytest.mark.parametrize("question", ELICITS)
def test_a_question_for_the_identity(question: str) -> None:
    assert elicits(question)


@pytest.mark.parametrize("question", DOES_NOT_ELICIT)
def test_another_question(question: str) -> None:
    assert not elicits(question)


def test_a_question_with_the_name_asks_for_the_identity() -> None:
    assert elicits("Are you Mirela?", MIRELA)
    assert elicits("你是沈砚吗?", ("沈砚",))
    assert not elicits("Are you Mirela's sister?", MIRELA)
    assert not elicits("Are you Mirela?")


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("I'm Captain Mirela Vex, a pirate. Welcome aboard!", "Welcome aboard!"),
        ("Welcome! I'm Mirela. Rum?", "Welcome! Rum?"),
        ("*grins* I'm Mirela, the pirate. Rum?", "*grins* Rum?"),
        ('"I\'m Mirela. Call me Vex." She grins.', "She grins."),
        ('"I\'m Mirela. Welcome!" She grins.', '"Welcome!" She grins.'),
        ("I'm Mirela.\n\nThe rum is here.\nDrink.", "The rum is here.\nDrink."),
        ("The rum is here.\n\nI'm Mirela.\n\nDrink.", "The rum is here.\n\nDrink."),
        ("I'm Captain Mirela Vex.", ""),
        ("I'm Mirela! 🏴‍☠️", ""),
        ("Rum is two coins.", "Rum is two coins."),
        ("As an AI, I can't drink. Buy a map.", "Buy a map."),
        ("“I am Mirela,” she says. “Sit.”", "“Sit.”"),
        ("**I'm Mirela.** Sit down.", "Sit down."),
        ("", ""),
    ],
)
def test_the_sentence_goes_and_the_rest_stays(reply: str, left: str) -> None:
    assert without_introductions(reply, MIRELA) == left


def test_chinese_sentences_need_no_space() -> None:
    assert without_introductions("我是沈砚。茶好了!请坐。", ("沈砚",)) == "茶好了!请坐。"
    assert without_introductions("请坐。「我是沈砚。」他笑了。", ("沈砚",)) == "请坐。他笑了。"


def test_a_title_does_not_end_the_sentence() -> None:
    reply = "I'm Dr. Maud Harrow, the surgeon. Sit down."
    assert without_introductions(reply, ("Dr. Maud Harrow",)) == "Sit down."


def test_spans_are_those_of_the_sentences() -> None:
    reply = "Ahoy. I'm Mirela, a pirate! Buy rum. Call me Vex."
    assert [reply[start:end] for start, end in introductions(reply, MIRELA)] == [
        "I'm Mirela, a pirate!",
        "Call me Vex.",
    ]


def test_the_parts_of_a_name_are_names() -> None:
    names = names_of(["Captain Mirela Vex"])
    assert names[0] == "Captain Mirela Vex"
    assert {"Mirela Vex", "Mirela", "Captain Vex", "Captain Mirela"} <= set(names)
    assert "Captain" not in names
    assert "Bramble" in names_of(["Bramble the Hedgehog"])
    assert not {"the", "Hedgehog", "the Hedgehog"} & set(names_of(["Bramble the Hedgehog"]))
    assert "晓月" in names_of(["林晓月"])
    assert "서윤" in names_of(["김서윤"])
    assert names_of(["", "  ", "!!"]) == ()


@pytest.mark.parametrize(
    "name",
    [
        "A.I. (v2)",
        "X+Y",
        "[Redacted",
        "C*",
        "Ma|ra",
        "$am",
        "Jo^hn",
        "Zoë",
        "D'Artagnan",
        "R2-D2",
        "\\d+",
        "O’Neil",
        "Николай",
        "𝕏 Æ",
        "name.*",
        "«name»",
        "{0}",
    ],
)
def test_a_name_is_no_pattern(name: str) -> None:
    assert introduces(f"Well, I am {name}.", [name])
    assert introductions("Well, I am here and so is nobody else at all, 12 of them.", [name]) == []
    assert without_introductions(f"I'm {name}. Sit.", [name]) == "Sit."


def test_apostrophes_of_a_name_may_differ() -> None:
    assert introduces("I am D’Artagnan!", ["D'Artagnan"])


def test_without_names_only_the_assistant_is_found() -> None:
    assert introductions("I'm Mirela.", []) == []
    assert introduces("I'm an AI.", [])


@pytest.mark.parametrize(
    ("reply", "given"),
    [
        ("Mirela, of course.", True),
        ("The captain vex, They say.", False),
        ("vex. captain vex.", True),
        ("They call me many things.", False),
        ("Vexing, truly.", False),
        ("It's Captain Mirela Vex's word.", True),
    ],
)
def test_a_name_is_given(reply: str, given: bool) -> None:
    assert gives_name(reply, MIRELA) is given


_LONG = [
    "a", "I'm ", "I am the a b c d ", "*", ".", "I am ...", '"', " ", "\n", "who are ", "Mirela ",
    "Mirela, a, ", "我是", "저는 ", "*a* ", "'", "tell me a bit more ", "I'm the one who ", "- ",
    "I'm Mirela. ", "As an AI ", "「", "我,沈砚",
]  # fmt: skip


@pytest.mark.parametrize("piece", _LONG)
def test_the_time_is_linear_in_the_length(piece: str) -> None:
    """Eight times the text takes about eight times as long, not sixty-four times."""

    def seconds(size: int) -> float:
        text = "As an AI, I'm Mirela. " + piece * (size // len(piece))
        begun = time.process_time()
        without_introductions(text, MIRELA)
        elicits(text, MIRELA)
        return time.process_time() - begun

    introduces("warm", MIRELA)
    assert seconds(16_000) < 24 * seconds(2_000) + 0.5


def test_a_hundred_kilobytes_take_seconds() -> None:
    text = "".join(_LONG) * (100_000 // len("".join(_LONG)))
    begun = time.process_time()
    without_introductions(text, MIRELA)
    elicits(text, MIRELA)
    assert time.process_time() - begun < 30


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="I'm Mirela.*\"“”!?\n「」我是。, Vex", max_size=80))
def test_what_is_cut_is_gone_and_nothing_is_invented(reply: str) -> None:
    spans = introductions(reply, MIRELA)
    assert bool(spans) or without_introductions(reply, MIRELA) in (reply, "")
    assert all(0 <= start < end <= len(reply) for start, end in spans)
    assert spans == sorted(spans)
    left = without_introductions(reply, MIRELA)
    kept = iter(reply)
    assert all(mark in kept for mark in left)  # a subsequence
