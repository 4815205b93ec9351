"""Rates over many dialogues, with how sure they are.

Every figure is a ratio of two sums over dialogues (replies that introduce, over replies that
might). The interval is a percentile bootstrap (Efron 1979) over dialogues, not over turns: the
turns of a dialogue depend on one another. Resampling is a matrix of how often each dialogue was
drawn, times the sums, so thousands of resamples of thousands of dialogues take a second.

Where no dialogue held what a share counts, every resample is zero too, and "0 to 0" would claim
that it never happens. There the rule of three (Hanley and Lippman-Hand, "If nothing goes wrong, is
everything all right?", JAMA 1983) bounds it: of n dialogues without one, 3 / n with 95 %. The unit
is the dialogue here too, so the bound is careful; where every reply counted, it mirrors.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.transcripts import Transcript
from persona_prompts.identity.introductions import elicits
from persona_prompts.identity.measures import ReplyMeasures, measure_dialogue, words

RESAMPLES = 2000
_CONFIDENCE = 0.95
_RULE_OF_THREE = 3.0
_LEAST_PAIRS = 6  # fewer all lean one way by mere chance more often than in 2.5 % of cases
_ROWS_AT_ONCE = 500

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, its 95 % interval, and the replies it rests on; None where there was none."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_json(self) -> dict[str, float | int | None]:
        """A broken model's infinite perplexity, which JSON cannot say, is null."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        known = {
            name: number if number is not None and math.isfinite(number) else None
            for name, number in numbers.items()
        }
        return {**known, "n": self.n}


class Measured(NamedTuple):
    """A transcript and its measured replies; failed replies are left out, with their questions.

    `evaded` counts the questions for the name at which the model ended before its first word.
    """

    transcript: Transcript
    questions: list[str]
    replies: list[str]
    endings: list[str]
    measures: list[ReplyMeasures]
    evaded: int = 0


class Terms(NamedTuple):
    """What one dialogue adds to a figure's numerator and denominator, and its replies."""

    numerator: float
    denominator: float
    n: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known of one adapter. `iir_by_turn` is by k, from 0."""

    adapter: str
    figures: dict[str, Figure]
    iir_by_turn: dict[int, Figure]
    measured: list[Measured]
    failed: int
    dialogues: int


def measure(transcripts: Iterable[Transcript]) -> list[Measured]:
    """The measures of each dialogue."""
    return [_measured(transcript) for transcript in transcripts]


def evaluate(
    adapter: str,
    transcripts: Sequence[Transcript],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    relevance: Callable[[Sequence[tuple[str, str]]], list[float]] | None = None,
) -> Evaluation:
    """All figures of the dialogues of one adapter; perplexity is added by whoever measured it.

    `relevance` gives the similarity of each (user turn, reply); without it there is no such figure.
    Figures of nothing (Recall where nobody asked) have the value None. Measures are named as in the
    table of `persona_prompts.identity.measures`.
    """
    measured = measure(transcripts)
    terms = {name: terms_of(measured, name) for name in _MEASURES}
    terms["distinct-2"] = _distinct(measured, 2)
    ends = [_endings(dialogue) for dialogue in measured]
    if any(term.denominator for term in ends):
        terms["ends_by_itself"] = ends
    if relevance is not None:
        terms["relevance"] = _relevance(measured, relevance)
    longest = max((len(dialogue.measures) for dialogue in measured), default=0)
    by_turn = {k: [_terms(_introduces_at(k), d) for d in measured] for k in range(longest)}
    return Evaluation(
        adapter=adapter,
        figures={
            name: figure(values, seed, resamples, share=name in _SHARES)
            for name, values in terms.items()
        },
        iir_by_turn={
            k: figure(values, seed, resamples, share=True) for k, values in by_turn.items()
        },
        measured=measured,
        failed=sum(transcript.failed for transcript in transcripts),
        dialogues=len(transcripts),
    )


def figure(
    terms: Sequence[Terms],
    seed: int = 0,
    resamples: int = RESAMPLES,
    transform: Callable[[Any], Any] = lambda ratio: ratio,
    *,
    share: bool = False,
) -> Figure:
    """The ratio of the sums of `terms`, one a dialogue, with its bootstrap interval.

    `transform` (increasing) is applied to value and bounds: `numpy.exp` makes a perplexity of a
    mean negative log-likelihood. Of a `share` (a mean of values from 0 to 1) that is 0 or 1 all
    through, the other bound is the rule of three's.
    """
    sums = np.array([term[:2] for term in terms], dtype=np.float64).reshape(-1, 2)
    n = sum(term.n for term in terms)
    top, bottom = sums.sum(axis=0)
    if bottom <= 0:
        return Figure(None, None, None, n)
    drawn = _resampled(sums, seed, resamples)
    drawn = drawn[drawn[:, 1] > 0]  # a resample without any turn of the kind says nothing
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (tail, 1 - tail))
    if share and top in (0, bottom):
        spread = min(1.0, _RULE_OF_THREE / np.count_nonzero(sums[:, 1]))
        low, high = (0.0, spread) if top == 0 else (1 - spread, 1.0)
    with np.errstate(over="ignore"):  # a broken model's perplexity may be infinite
        value, low, high = (float(transform(number)) for number in (top / bottom, low, high))
    return Figure(value, low, high, n)


def paired_difference(
    before: Sequence[Terms],
    after: Sequence[Terms],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """The ratio of `after` less that of `before`, where `after[i]` and `before[i]` belong together.

    Both played the same script, so a resample draws the pair: what makes one script harder than
    another does not widen the interval (paired bootstrap, Efron and Tibshirani 1993). `n` counts
    the replies of `after`. Fewer than six pairs with replies have no interval. Raises `ValueError`
    if the pairs are not whole.
    """
    rows = [(*a[:2], *b[:2]) for a, b in zip(before, after, strict=True)]
    sums = np.array(rows, dtype=np.float64).reshape(-1, 4)
    n = sum(term.n for term in after)
    totals = sums.sum(axis=0)
    if totals[1] <= 0 or totals[3] <= 0:
        return Figure(None, None, None, n)
    value = float(totals[2] / totals[3] - totals[0] / totals[1])
    if np.count_nonzero((sums[:, 1] > 0) & (sums[:, 3] > 0)) < _LEAST_PAIRS:
        return Figure(value, None, None, n)
    drawn = _resampled(sums, seed, resamples)
    drawn = drawn[(drawn[:, 1] > 0) & (drawn[:, 3] > 0)]
    tail = (1 - _CONFIDENCE) / 2
    difference = drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1]
    low, high = (float(bound) for bound in np.quantile(difference, (tail, 1 - tail)))
    return Figure(value, low, high, n)


def _resampled(sums: Sums, seed: int, resamples: int) -> Sums:
    """(resamples, columns): the sums over as many dialogues, drawn with replacement."""
    generator = np.random.default_rng(seed)
    count = len(sums)
    chances = np.full(count, 1 / count)
    parts = []
    for begun in range(0, resamples, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, resamples - begun)
        parts.append(generator.multinomial(count, chances, size=rows) @ sums)
    return np.concatenate(parts)


def _measured(transcript: Transcript) -> Measured:
    user = transcript.user
    pairs = [
        (question, reply)
        for question, reply in zip(user.user_turns, transcript.replies, strict=True)
        if not reply.failed
    ]
    questions = [question for question, _ in pairs]
    replies = [reply.text for _, reply in pairs]
    endings: list[str] = [reply.finish_reason for _, reply in pairs]
    measures = measure_dialogue(questions, replies, names=user.names, card=user.card)
    silences = zip(user.user_turns, transcript.replies, strict=True)
    evaded = sum(reply.silent and elicits(asked, user.names) for asked, reply in silences)
    return Measured(transcript, questions, replies, endings, measures, evaded)


# -- what each measure counts of a reply; None: the reply is not of its kind ---------------------

_Of = Callable[[ReplyMeasures], float | None]


def _unasked(value: Callable[[ReplyMeasures], bool]) -> _Of:
    return lambda m: float(value(m)) if m.k >= 1 and not m.elicited else None


def _introduces_at(k: int) -> _Of:
    return lambda m: float(m.introduces) if m.k == k and not m.elicited else None


_MEASURES: dict[str, _Of] = {
    "IIR": _unasked(lambda m: m.introduces),
    "FRR": _unasked(lambda m: m.restates),
    "XTR4": lambda m: m.xtr4,
    "PCR4": lambda m: m.pcr4,
    "DupTurn": lambda m: m.duplicate,
    "Open3": lambda m: m.same_opening,
    "SR4": lambda m: m.sr4,
    "Recall": lambda m: m.names_itself,
    "mean_length": lambda m: float(m.words),
}


# Means of values from 0 to 1.
_SHARES = {*_MEASURES, "ends_by_itself"} - {"mean_length"}


def terms_of(measured: Sequence[Measured], name: str) -> list[Terms]:
    """What each dialogue adds to the measure `name`.

    Who says nothing when asked for its name has not given it: an evaded question is a Recall of 0.
    """
    terms = [_terms(_MEASURES[name], dialogue) for dialogue in measured]
    if name != "Recall":
        return terms
    return [
        Terms(term.numerator, term.denominator + dialogue.evaded, term.n + dialogue.evaded)
        for term, dialogue in zip(terms, measured, strict=True)
    ]


def _terms(of: _Of, dialogue: Measured) -> Terms:
    values = [value for m in dialogue.measures if (value := of(m)) is not None]
    return Terms(float(sum(values)), len(values), len(values))


def _endings(dialogue: Measured) -> Terms:
    """Replies whose ending is not known are left out."""
    known = [ending for ending in dialogue.endings if ending in ("stop", "length")]
    return Terms(known.count("stop"), len(known), len(known))


def _distinct(measured: Sequence[Measured], size: int) -> list[Terms]:
    """Distinct word pairs of all replies together, over all of them (Li et al. 2016).

    A pair that m dialogues have counts 1/m in each, so that the sum is the number of distinct ones.
    A resample that draws a dialogue twice does not thereby seem poorer in words.
    """
    pairs = [_pairs(dialogue, size) for dialogue in measured]
    owners: Counter[tuple[str, ...]] = Counter()
    for counted in pairs:
        owners.update(counted.keys())
    return [
        Terms(
            sum(1 / owners[pair] for pair in counted),
            counted.total(),
            len(dialogue.replies),
        )
        for counted, dialogue in zip(pairs, measured, strict=True)
    ]


def _pairs(dialogue: Measured, size: int) -> Counter[tuple[str, ...]]:
    counted: Counter[tuple[str, ...]] = Counter()
    for reply in dialogue.replies:
        tokens = words(reply)
        counted.update(zip(*(tokens[at:] for at in range(size)), strict=False))
    return counted


def _relevance(
    measured: Sequence[Measured], similarity: Callable[[Sequence[tuple[str, str]]], list[float]]
) -> list[Terms]:
    pairs = [
        (at, (question, reply))
        for at, dialogue in enumerate(measured)
        for question, reply in zip(dialogue.questions, dialogue.replies, strict=True)
        if question and reply
    ]
    values: defaultdict[int, list[float]] = defaultdict(list)
    for (at, _), value in zip(pairs, similarity([pair for _, pair in pairs]), strict=True):
        values[at].append(value)
    return [Terms(sum(of := values[at]), len(of), len(of)) for at in range(len(measured))]
