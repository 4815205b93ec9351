"""How many dialogues, turns and replies every step of a preparation got and left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from finetune.dataset import Example
from finetune.sources.dialogue import Dialogue
from persona_prompts.speakers import clean_text


class Size(NamedTuple):
    """`turns`: messages that say something, system messages not among them; `replies`: taught."""

    dialogues: int
    turns: int
    replies: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `detail` counts what it did, by its own names."""

    name: str
    before: Size
    after: Size
    detail: Mapping[str, int] = field(default_factory=dict)


class Journal:
    """The steps in their order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def record(self, name: str, before: Size, after: Size, detail: Mapping[str, int]) -> None:
        self.steps.append(Step(name, before, after, dict(detail)))

    def rows(self) -> list[dict[str, Any]]:
        """The steps as JSON has them, each size as [in, out]."""
        return [
            {
                "step": step.name,
                **{
                    what: [getattr(step.before, what), getattr(step.after, what)]
                    for what in Size._fields
                },
                "detail": dict(step.detail),
            }
            for step in self.steps
        ]

    def table(self) -> str:
        """The steps as lines for a terminal."""
        heads = ("step", *Size._fields, "")
        lines = [heads] + [
            (
                step.name,
                *(f"{old} → {new}" for old, new in zip(step.before, step.after, strict=True)),
                ", ".join(f"{name} {count}" for name, count in step.detail.items() if count),
            )
            for step in self.steps
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
        return "\n".join(
            "  ".join(
                (
                    line[0].ljust(widths[0]),
                    *(
                        cell.rjust(width)
                        for cell, width in zip(line[1:-1], widths[1:], strict=True)
                    ),
                    line[-1],
                )
            ).rstrip()
            for line in lines
        )

    def losses(self) -> str:
        """Which steps took how many replies, for a sentence."""
        taken = [
            f"{step.name} took {step.before.replies - step.after.replies}"
            for step in self.steps
            if step.before.replies > step.after.replies
        ]
        return ", ".join(taken) or "there were none to begin with"


def size_of(dialogues: Iterable[Dialogue]) -> Size:
    """Of dialogues."""
    held = list(dialogues)
    turns = sum(bool(clean_text(said.line.text)) for one in held for said in one.said)
    return Size(len(held), turns, sum(dialogue.replies for dialogue in held))


def size_of_examples(examples: Iterable[Example]) -> Size:
    """Of examples, each counted as a dialogue."""
    held = list(examples)
    turns = [turn for example in held for turn in example.turns]
    spoken = sum(turn.message.role != "system" for turn in turns)
    return Size(len(held), spoken, sum(turn.taught for turn in turns))
