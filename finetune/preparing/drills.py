"""Turns that ask for the character's name, put among those that were really said.

A character that is taught never to introduce itself also forgets who it is; a few examples in which
it is asked keep it from that. The phrases are data: `name_drills.toml`.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import regex

from finetune.dataset import Example, Turn
from finetune.sources.dialogue import Dialogue
from inference.types import Message

_PHRASES = Path(__file__).with_name("name_drills.toml")
_HANGUL = regex.compile(r"\p{Hangul}")
_HAN = regex.compile(r"\p{Han}")


@dataclass(frozen=True, slots=True)
class Phrases:
    """Questions and answers of one language; `{name}` in an answer is the character's name."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


@cache
def phrases() -> dict[str, Phrases]:
    """The phrases by language: `en`, `zh`, `ko`."""
    data = tomllib.loads(_PHRASES.read_text(encoding="utf-8"))
    return {
        language: Phrases(tuple(lists["questions"]), tuple(lists["answers"]))
        for language, lists in data.items()
    }


def with_drills(
    examples: Sequence[tuple[Dialogue, Example]],
    share: float,
    *,
    fits: Callable[[Example], bool],
    seed: int,
) -> tuple[list[Example], int]:
    """The examples in their order, with a drill in `share` of them; and how many got one.

    Only dialogues whose character has a name are drilled, and only examples that stay within the
    token limit (`fits`). The turn stands behind one of the replies, or before the first question.
    """
    found = [example for _, example in examples]
    wanted = round(share * len(examples))
    dice = random.Random(seed)
    order = list(range(len(examples)))
    dice.shuffle(order)
    drilled = 0
    for at in order:
        if drilled >= wanted:
            break
        dialogue, example = examples[at]
        if not dialogue.named:
            continue
        longer = _drilled(dialogue, example, dice)
        if longer is not None and fits(longer):
            found[at] = longer
            drilled += 1
    return found, drilled


def language_of(text: str) -> str:
    """`ko`, `zh` or `en`, by the script that most of the letters are in."""
    hangul, han = len(_HANGUL.findall(text)), len(_HAN.findall(text))
    if max(hangul, han) * 3 < sum(map(str.isalpha, text)):
        return "en"
    return "ko" if hangul >= han else "zh"


def _drilled(dialogue: Dialogue, example: Example, dice: random.Random) -> Example | None:
    turns = example.turns
    places = [at for at, turn in enumerate(turns) if turn.message.role == "user"]
    if not places:
        return None
    said = "\n".join(turn.message.content for turn in turns if turn.taught)
    known = phrases()[language_of(said)]
    question = dice.choice(known.questions)
    answer = dice.choice(known.answers).replace("{name}", dialogue.character.name)
    place = dice.choice([*places, len(turns)])
    if dialogue.group:
        near = turns[place if place < len(turns) else places[-1]].message.content
        label, colon, _ = near.rpartition("\n")[2].partition(": ")
        question = f"{label}: {question}" if colon else question
    drill = (
        Turn(Message(role="user", content=question)),
        Turn(Message(role="assistant", content=answer), taught=True),
    )
    return replace(example, turns=(*turns[:place], *drill, *turns[place:]))
