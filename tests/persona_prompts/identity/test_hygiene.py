"""Introductions are not fed back; what was asked for, and the greeting, stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from persona_prompts.character import Character
from persona_prompts.identity.hygiene import without_unasked_introductions
from persona_prompts.identity.introductions import elicits, introductions
from persona_prompts.prompt import build_prompt
from persona_prompts.turns import Line

MIRELA = Character(
    id="mirela", name="Captain Mirela Vex", aliases=("Mirela",), greeting="Ahoy, I'm Mirela!"
)
NAMES = (MIRELA.name, *MIRELA.aliases)


def ann(text: str) -> Line:
    return Line("Ann", text, own=False)


def own(text: str) -> Line:
    return Line("Mirela", text, own=True)


def cut(*lines: Line) -> list[str]:
    return [line.text for line in without_unasked_introductions(lines, NAMES)]


def test_an_unasked_introduction_is_cut_and_the_rest_stays() -> None:
    assert cut(
        ann("Nice day."), own("I'm Captain Mirela Vex. The wind is fair."), ann("And now?")
    ) == ["Nice day.", "The wind is fair.", "And now?"]


def test_one_that_was_asked_for_stays() -> None:
    said = "I'm Captain Mirela Vex. Who asks?"
    assert cut(ann("Who are you?"), own(said), ann("Ann."))[1] == said
    assert cut(ann("Hm."), ann("Who are you?"), ann("Well?"), own(said), ann("x"))[3] == said
    assert (
        cut(ann("Who are you?"), own("Guess."), ann("Hm."), own(said), ann("x"))[3] == "Who asks?"
    )


def test_the_greeting_and_a_line_to_be_continued_stay() -> None:
    greeting = "Ahoy, I'm Captain Mirela Vex!"
    assert cut(own(greeting), ann("Hello."))[0] == greeting
    assert cut(ann("Hello."), own("I'm Mirela. So"))[1] == "I'm Mirela. So"


def test_a_second_line_in_a_row_is_judged_by_the_same_question() -> None:
    assert cut(ann("Hello."), own("Hm."), own("I'm Mirela. Sit."), ann("x"))[2] == "Sit."
    assert cut(ann("Who are you?"), own("Hm."), own("I'm Mirela. Sit."), ann("x"))[2] == (
        "I'm Mirela. Sit."
    )


def test_a_prompt_holds_no_reply_that_was_nothing_but_an_introduction() -> None:
    prompt = build_prompt(
        MIRELA,
        [ann("Nice day."), own("I'm Captain Mirela Vex."), ann("And now?")],
        group=False,
        user_name="Ann",
        count=lambda text: len(text.split()),
        context_tokens=400,
        reply_tokens=50,
    )
    assert [tuple(message) for message in prompt.messages[1:]] == [
        ("assistant", "Ahoy, I'm Mirela!"),
        ("user", "Nice day.\nAnd now?"),
    ]
    assert prompt.dropped == 0


SAID = st.sampled_from(
    ["Who are you?", "Nice day.", "Tell me your name!", "I'm Mirela. Hm.",
     "I am Captain Mirela Vex.", "As an AI, I see.", "The wind turns.", "", "你是谁？"]
)  # fmt: skip


@given(st.lists(st.builds(Line, st.just("x"), SAID, st.booleans()), max_size=12))
def test_nothing_unasked_remains_and_a_second_pass_changes_nothing(history: list[Line]) -> None:
    once = without_unasked_introductions(history, NAMES)
    assert without_unasked_introductions(once, NAMES) == once
    assert len(once) == len(history)
    for at, line in enumerate(once[:-1]):
        before = once[:at]
        heard = [i for i, other in enumerate(before) if not other.own]
        if not line.own:
            assert line == history[at]
        elif heard and introductions(line.text, NAMES):
            last = heard[-1]
            run = [before[last].text]
            while last > 0 and not before[last - 1].own:
                last -= 1
                run.append(before[last].text)
            assert any(elicits(text, NAMES) for text in run)
