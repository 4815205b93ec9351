"""What is cut out of replies, and which are not taught."""

from __future__ import annotations

import pytest

from config import PrepareSettings
from finetune.preparing.replies import filters, repeats, without_unasked_introductions
from finetune.preparing.silence import cut_at_silence
from finetune.preparing.windows import Windows
from finetune.sources.dialogue import Dialogue, Said
from persona_prompts.character import Character
from persona_prompts.identity.measures import measure_dialogue
from persona_prompts.prompt import Line
from tests.finetune.preparing.talk import VEX, bare, talk, tokens, with_said


def taught(dialogue: Dialogue) -> list[str]:
    return [said.line.text for said in dialogue.said if said.teachable]


def filtered(name: str, dialogue: Dialogue) -> list[str]:
    return taught(filters(bare())[name](dialogue))


def test_an_introduction_is_cut_out_of_the_reply_and_of_the_context() -> None:
    dialogue = without_unasked_introductions(
        talk("Nice ship.", "I'm Captain Mirela Vex. She leaks a little.", "Does she?", "She does.")
    )
    assert taught(dialogue) == ["She leaks a little.", "She does."]
    assert dialogue.said[1].logged == "I'm Captain Mirela Vex. She leaks a little."
    settings = tokens()
    windows = Windows(settings.count, settings.added, settings.settings)
    prompt = windows.prompt(dialogue, 3)
    assert prompt is not None
    assert [m.content for m in prompt if m.role == "assistant"] == [
        "Welcome aboard!",
        "She leaks a little.",
    ]


def test_an_introduction_that_was_asked_for_stays() -> None:
    said = ("Who are you?", "I'm Captain Mirela Vex.")
    assert taught(without_unasked_introductions(talk(*said))) == ["I'm Captain Mirela Vex."]


def test_a_reply_that_only_introduces_is_not_taught_and_leaves_the_context() -> None:
    dialogue = without_unasked_introductions(
        talk("Nice ship.", "I am Captain Mirela Vex.", "And?", "She sails.")
    )
    assert taught(dialogue) == ["She sails."]
    [example] = tokens().windows().examples(dialogue)
    assert [t.message.content for t in example.turns[1:]] == [
        "Welcome aboard!",
        "Nice ship.\nAnd?",
        "She sails.",
    ]


def test_a_greeting_may_introduce() -> None:
    dialogue = talk("", "I'm Captain Mirela Vex!", "Hi", "Ahoy.")
    assert without_unasked_introductions(dialogue).said[1].line.text == "I'm Captain Mirela Vex!"


LOOP = "The tide waits for nobody, my friend, so hurry up"


def test_replies_that_repeat_are_not_taught_but_stay_as_context() -> None:
    dialogue = talk("One?", LOOP, "Two?", f"{LOOP} now.", "Three?", "Three coins it is, then.")
    assert filtered("repetition", dialogue) == [LOOP, "Three coins it is, then."]
    assert [said.line.text for said in dialogue.said][3] == f"{LOOP} now."
    chant = "row the boat now " * 6
    assert filtered("repetition", talk("Sing!", chant, "More?", "No more songs.")) == [
        "No more songs."
    ]


def test_what_the_user_quoted_is_no_repetition() -> None:
    dialogue = talk("One?", LOOP, f"You said: {LOOP}?", f"{LOOP}.")
    assert filtered("repetition", dialogue) == [LOOP, f"{LOOP}."]


def test_repetition_is_measured_as_in_the_evaluation() -> None:
    users = ["One?", "Two? The tide waits for nobody", "Three?"]
    replies = [LOOP, f"{LOOP} now.", "a b c d a b c d and the tide waits for nobody, ever"]
    measured = measure_dialogue(users, replies, names=[VEX.name], card="")
    dialogue = talk(*(text for pair in zip(users, replies, strict=True) for text in pair))
    found = list(repeats(dialogue))[1::2]
    assert found == [(m.xtr4 or 0.0, m.sr4 or 0.0) for m in measured]
    assert 0 < found[2][0] < 1
    assert 0 < found[2][1] < 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("errors", {"finish": "error"}),
        ("length limit", {"finish": "length"}),
        ("disliked", {"dislikes": 2, "likes": 1}),
    ],
)
def test_unfit_replies_are_not_taught(name: str, changes: dict[str, object]) -> None:
    dialogue = with_said(talk("One?", "First.", "Two?", "Second."), 1, **changes)
    assert filtered(name, dialogue) == ["Second."]
    others = [other for other in filters(bare()) if other != name]
    assert all(filtered(other, dialogue) == ["First.", "Second."] for other in others)


def test_empty_replies_are_not_taught() -> None:
    assert filtered("empty", talk("One?", " \n", "Two?", "Second.")) == ["Second."]


def test_dialogues_are_cut_where_the_channel_fell_silent() -> None:
    dialogue = talk("One?", "First.", "Two?", "Second.", "Three?", "Third.")
    late = with_said(with_said(dialogue, 4, at=5000.0), 5, at=9000.0)  # the reply took its time
    parts = list(cut_at_silence(late, 30.0))
    assert [taught(part) for part in parts] == [["First.", "Second."], ["Third."]]
    assert [part.source for part in parts] == ["terminal:main"] * 2
    assert len(list(cut_at_silence(late, 100.0))) == 1


def test_windows_leave_introductions_out_as_serving_does_also_where_nobody_cut_them() -> None:
    dialogue = talk(
        "Nice ship.", "I am Captain Mirela Vex.", "And?", "I'm Mirela. She sails.", "Far?", "Far."
    )
    [example] = tokens().windows().examples(with_said(dialogue, 1, teachable=False))
    assert [t.message.content for t in example.turns[1:]] == [
        "Welcome aboard!",
        "Nice ship.\nAnd?",
        "She sails.",
        "Far?",
        "Far.",
    ]
    prompt = tokens().windows().prompt(dialogue, 5)
    assert prompt is not None
    assert [m.content for m in prompt[1:]] == [t.message.content for t in example.turns[1:-1]]


def test_a_reply_that_forgets_its_name_when_asked_is_not_taught() -> None:
    said = (
        Said(Line("Ann", "What's your name?", own=False)),
        Said(Line("Mirela", "Nobody knows.", own=True), teachable=True),
        Said(Line("Ann", "No, really, who are you?", own=False)),
        Said(Line("Mirela", "Mirela, then.", own=True), teachable=True),
        Said(Line("Ann", "Nice day.", own=False)),
        Said(Line("Mirela", "Wet, rather.", own=True), teachable=True),
    )
    character = Character(id="mirela", name="Mirela")
    kept = filters(PrepareSettings())["name forgotten"](Dialogue(character, False, said))
    assert [line.teachable for line in kept.said] == [False, False, False, True, False, True]
