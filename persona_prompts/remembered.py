"""What a character knows besides the words in its window, as its prompt says it.

Summary and facts stand at the end of the system message, in an order that changes seldom, since
everything behind a change has to be read by the model again. What was recalled for one question
stands right before that question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persona_prompts.speakers import clean_text, graphemes, one_line, speaker_name
from persona_prompts.turns import GAP, Line, Note

SUMMARY_HEADING = "What happened before, in short:"
FACTS_HEADING = "What {name} was told:"
RECALL_DEPTH = 1  # messages: right before the question
_LONGEST_MOMENT = 300  # characters of one recalled message


@dataclass(frozen=True, slots=True)
class KnownFact:
    """What one person said."""

    speaker: str
    text: str


def memory_text(name: str, summary: str, facts: Sequence[KnownFact]) -> str:
    """Both as the end of the system message of the character called `name`; may be empty."""
    parts = []
    if told := clean_text(summary):
        parts.append(f"{SUMMARY_HEADING}\n{told}")
    if facts:
        lines = "\n".join(fact_line(fact, name) for fact in facts)
        parts.append(f"{FACTS_HEADING.format(name=name)}\n{lines}")
    return "\n\n".join(parts)


def fact_line(fact: KnownFact, name: str) -> str:
    """One line that says who said it; `name` is the character's own."""
    return f"- {speaker_name(fact.speaker, taken=name)} said: {one_line(fact.text)}"


def recall_note(moments: Sequence[Line], name: str) -> Note | None:
    """Older moments of the scene, oldest first, as one note; None without any."""
    if not moments:
        return None
    lines = (
        f"{name if moment.own else speaker_name(moment.speaker, taken=name)} said:"
        f" {_shortened(one_line(moment.text))}"
        for moment in moments
    )
    return Note("Earlier: " + " … ".join(lines), RECALL_DEPTH)


def _shortened(text: str) -> str:
    pieces = graphemes(text)
    if len(pieces) <= _LONGEST_MOMENT:
        return text
    half = _LONGEST_MOMENT // 2
    return "".join(pieces[:half]).rstrip() + GAP + "".join(pieces[-half:]).lstrip()
