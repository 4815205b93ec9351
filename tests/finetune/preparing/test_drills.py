"""Turns that ask for the name: what they say, and where they stand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from finetune.dataset import Example
from finetune.preparing.drills import language_of, phrases, with_drills
from finetune.sources.dialogue import Dialogue
from persona_prompts.identity.introductions import elicits, gives_name
from tests.finetune.preparing.talk import VEX, talk, tokens

QUESTIONS = [(language, q) for language, held in phrases().items() for q in held.questions]
ANSWERS = [(language, a) for language, held in phrases().items() for a in held.answers]


@pytest.mark.parametrize(("language", "question"), QUESTIONS)
def test_every_question_asks_for_the_name(language: str, question: str) -> None:
    assert elicits(question)
    assert language_of(question) == language


@pytest.mark.parametrize(("language", "answer"), ANSWERS)
def test_every_answer_gives_it(language: str, answer: str) -> None:
    for name in (VEX.name, "서연", "沈砚"):
        assert gives_name(answer.replace("{name}", name), [name])


def made(count: int, dialogue: Dialogue) -> list[tuple[Dialogue, Example]]:
    return [(dialogue, example) for _ in range(count)
            for example in tokens().windows().examples(dialogue)]  # fmt: skip


def test_a_share_of_the_examples_is_drilled() -> None:
    examples = made(50, talk("Nice ship.", "She leaks.", "Does she?", "She does."))
    found, drilled = with_drills(examples, 0.1, fits=lambda example: True, seed=1)
    assert drilled == 5
    changed = [(new, old) for new, (_, old) in zip(found, examples, strict=True) if new != old]
    assert len(changed) == 5
    for new, old in changed:
        added = [turn for turn in new.turns if turn not in old.turns]
        question, answer = added
        assert elicits(question.message.content)
        assert gives_name(answer.message.content, [VEX.name])
        assert answer.taught
        assert not question.taught
        roles = [turn.message.role for turn in new.turns[1:]]
        assert all(a != b for a, b in pairwise(roles))
        assert new.turns[0] == old.turns[0]
    again, _ = with_drills(examples, 0.1, fits=lambda example: True, seed=1)
    assert again == found


def test_a_drill_speaks_the_language_of_the_dialogue() -> None:
    korean = made(1, talk("배가 예뻐요.", "물이 조금 새지만 괜찮아요."))
    [example], _ = with_drills(korean, 1.0, fits=lambda example: True, seed=0)
    assert sum(language_of(t.message.content) == "ko" for t in example.turns) >= 3


def test_in_a_group_the_question_has_its_speaker() -> None:
    group = made(8, talk("Nice ship.", "She leaks.", group=True))
    found, _ = with_drills(group, 1.0, fits=lambda example: True, seed=0)
    users = [t.message.content for e in found for t in e.turns if t.message.role == "user"]
    assert len(users) == 16
    assert all(text.startswith("Ann: ") for text in users)


def test_no_drill_without_a_name_or_without_room() -> None:
    nameless = made(3, replace(talk("Hi", "Ahoy."), named=False))
    assert with_drills(nameless, 1.0, fits=lambda example: True, seed=0)[1] == 0
    full = made(3, talk("Hi", "Ahoy."))
    assert with_drills(full, 1.0, fits=lambda example: False, seed=0)[1] == 0
