"""Dialogues in one line, and a model's tokens counted in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from config import FinetuneSettings, PrepareSettings
from finetune.preparing.pipeline import Tokens
from finetune.preparing.pseudonyms import Pseudonyms
from finetune.sources.dialogue import Dialogue, Said
from persona_prompts.character import Character
from persona_prompts.prompt import Line

VEX = Character(
    id="vex",
    name="Captain Mirela Vex",
    aliases=("Mirela",),
    description="{{char}} sells storms.",
    greeting="Welcome aboard!",
)
KEY = bytes(32)


@dataclass(frozen=True)
class Format:
    """What a prompt format adds."""

    message_overhead: int = 1
    prompt_overhead: int = 1


def tokens(**settings: Any) -> Tokens:
    return Tokens(lambda text: len(text.split()), Format(), FinetuneSettings(**settings))


def talk(*lines: str, source: str = "terminal:main", user: str = "Ann", **more: Any) -> Dialogue:
    """Lines of a person and of Vex in turn, a minute apart."""
    said = []
    for at, text in enumerate(lines):
        own = at % 2 == 1
        line = Line(VEX.name if own else user, text, own=own)
        author = "" if own else f"terminal:{user}"
        said.append(Said(line, teachable=own, author=author, at=60.0 * at))
    return replace(Dialogue(VEX, False, tuple(said), source), **more)


def with_said(dialogue: Dialogue, place: int, **changes: Any) -> Dialogue:
    said = list(dialogue.said)
    said[place] = replace(said[place], **changes)
    return replace(dialogue, said=tuple(said))


def pseudonyms() -> Pseudonyms:
    return Pseudonyms(KEY)


def bare(**changes: Any) -> PrepareSettings:
    """Settings without drills and validation."""
    return PrepareSettings(**{"name_drills": 0.0, "validation_share": 0.0, **changes})
