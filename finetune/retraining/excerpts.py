"""Where champion and challenger answered the same words most differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from finetune.evaluation.figures import Evaluation, Measured
from persona_prompts.identity.measures import ReplyMeasures

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One user turn with the replies of both; `differs` says in words by what measure."""

    dialogue: str  # the script's id
    name: str  # the character's
    turn: int  # from 0
    said: str
    champion: str
    challenger: str
    differs: str


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    measures: ReplyMeasures


# How much each difference weighs, and how it reads of the one that has it.
_MARKS = {
    "introduces": (3.0, "introduces itself"),
    "names_itself": (3.0, "gives its name"),
    "duplicate": (2.0, "says an earlier reply again"),
    "restates": (1.0, "states a fact of its card again"),
    "same_opening": (1.0, "opens as before"),
}
_REPEATED = 2.0  # the weight of all of XTR4
_TELLING = 0.2  # of XTR4, to be worth a word


def excerpts(champion: Evaluation, challenger: Evaluation, count: int = SHOWN) -> list[Excerpt]:
    """The `count` turns that differ most, each of another script while there are enough.

    Differences in either direction weigh the same, so that a loss is shown as a gain is. Where
    no measure differs, the replies that are longest and unlike come first.
    """
    pairs = sorted(_pairs(champion, challenger), key=lambda pair: pair[0], reverse=True)
    chosen: list[Excerpt] = []
    for seen_before in (False, True):
        for _, excerpt in pairs:
            if len(chosen) == count:
                return chosen
            known = any(other.dialogue == excerpt.dialogue for other in chosen)
            if excerpt not in chosen and known == seen_before:
                chosen.append(excerpt)
    return chosen


def _pairs(
    champion: Evaluation, challenger: Evaluation
) -> Iterator[tuple[tuple[float, int], Excerpt]]:
    """Every turn that both answered, differently, with how much it weighs."""
    theirs = {key: measured for key, measured in _plays(champion)}
    for key, measured in _plays(challenger):
        if key not in theirs:
            continue
        user = measured.transcript.user
        before, after = _answers(theirs[key]), _answers(measured)
        for turn, said in enumerate(user.user_turns):
            old, new = before.get(turn), after.get(turn)
            if old is None or new is None or old.text == new.text:
                continue
            weight, differs = _difference(old.measures, new.measures)
            yield (
                (weight, min(len(old.text), len(new.text))),
                Excerpt(user.id, user.name, turn, said, old.text, new.text, differs),
            )


def _plays(evaluation: Evaluation) -> Iterator[tuple[tuple[str, int], Measured]]:
    """The dialogues by script and how often it was played before."""
    played: Counter[str] = Counter()
    for measured in evaluation.measured:
        script = measured.transcript.user.id
        yield (script, played[script]), measured
        played[script] += 1


def _answers(measured: Measured) -> dict[int, _Answer]:
    """The measured replies by turn; failed ones are none."""
    turns = [turn for turn, reply in enumerate(measured.transcript.replies) if not reply.failed]
    answers = zip(turns, measured.replies, measured.measures, strict=True)
    return {turn: _Answer(text, measures) for turn, text, measures in answers}


def _difference(old: ReplyMeasures, new: ReplyMeasures) -> tuple[float, str]:
    """How much the replies differ, and in what; an asked-for introduction is no difference."""
    weight = 0.0
    alone: dict[str, list[str]] = {"champion": [], "challenger": []}
    for name, (heavy, words) in _MARKS.items():
        if name in ("introduces", "restates") and (new.elicited or new.k == 0):
            continue
        before, after = bool(getattr(old, name)), bool(getattr(new, name))
        if before != after:
            weight += heavy
            alone["challenger" if after else "champion"].append(words)
    said = [f"only the {who} {' and '.join(what)}" for who, what in alone.items() if what]
    before_share, after_share = old.xtr4 or 0.0, new.xtr4 or 0.0
    weight += _REPEATED * abs(after_share - before_share)
    if abs(after_share - before_share) >= _TELLING:
        said.append(f"XTR4 {before_share:.2f} → {after_share:.2f}")
    return weight, ", ".join(said)
