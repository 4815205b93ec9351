"""The measures of identity repetition, for one reply and for the replies of a dialogue.

`finetune.evaluation.figures` makes rates of them; the promotion gate, the filters of `prepare` and
the live log use the same ones. What a measure is taken over:

    IIR, FRR        replies with k ≥ 1 that were not elicited
    XTR4, PCR4      replies with k ≥ 1 that have a 4-gram of their own (none stands in the question)
    DupTurn         replies with k ≥ 1 and at least five words
    Open3           replies with k ≥ 1 and at least three words
    SR4             replies with at least one 4-gram
    Recall          elicited replies
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from persona_prompts.identity.introductions import elicits, gives_name, introduces
from persona_prompts.identity.text_units import (
    Ngram,
    card_ngrams,
    content_words,
    facts,
    ngrams,
    similar,
    states,
    words,
)

__all__ = ["ReplyMeasures", "measure_dialogue", "measure_reply", "words"]

DUPLICATE = 0.7  # ROUGE-L from which a reply counts as said before
_SHORTEST_DUPLICATE = 5  # words
_OPENING = 3  # words


@dataclass(frozen=True, slots=True)
class ReplyMeasures:
    """One reply as the bot's `k`-th of its dialogue, from 0. None: not defined for this reply.

    `elicited`: the user asked who it is. `introduces`: it says who its speaker is. `restates`: it
    states a fact of the card that the bot stated before and the user did not. `xtr4`, `pcr4`: share
    of its 4-grams, less those of the question, that stand in earlier replies, in the card. `sr4`:
    share of its 4-grams that it says again itself. `names_itself`: whether an elicited reply gives
    the name. `words`: its length.
    """

    k: int
    elicited: bool
    introduces: bool
    restates: bool
    xtr4: float | None
    pcr4: float | None
    duplicate: bool | None
    same_opening: bool | None
    sr4: float | None
    names_itself: bool | None
    words: int


def measure_reply(
    reply: str, question: str, *, earlier: Sequence[str], names: Sequence[str], card: str
) -> ReplyMeasures:
    """`reply` to `question` after the bot's own `earlier` replies, oldest first.

    `names` are the character's name and aliases, `card` the text that describes it, macros filled.
    """
    listener = _Listener(names, card)
    for before in earlier:
        listener.remember(before)
    return listener.measure(question, reply)


def measure_dialogue(
    user_turns: Sequence[str], replies: Sequence[str], *, names: Sequence[str], card: str
) -> list[ReplyMeasures]:
    """Every reply of a dialogue; `replies[k]` answers `user_turns[k]`.

    Raises `ValueError` if there are not as many replies as user turns.
    """
    listener = _Listener(names, card)
    measured = []
    for question, reply in zip(user_turns, replies, strict=True):
        measured.append(listener.measure(question, reply))
        listener.remember(reply)
    return measured


@dataclass(slots=True)
class _Listener:
    """Remembers what the bot said so far, so that each reply is looked at once."""

    names: Sequence[str]
    card: str
    _replies: list[list[str]] = field(default_factory=list)
    _ngrams: set[Ngram] = field(default_factory=set)
    _openings: set[tuple[str, ...]] = field(default_factory=set)
    _stated: set[frozenset[str]] = field(default_factory=set)

    def remember(self, reply: str) -> None:
        tokens = words(reply)
        self._replies.append(tokens)
        self._ngrams.update(ngrams(tokens))
        if len(tokens) >= _OPENING:
            self._openings.add(tuple(tokens[:_OPENING]))
        said = content_words(tokens)
        self._stated.update(fact for fact in facts(self.card) if states(fact, said))

    def measure(self, question: str, reply: str) -> ReplyMeasures:
        k = len(self._replies)
        tokens, asked = words(reply), words(question)
        grams = ngrams(tokens)
        given = set(ngrams(asked))
        own = [gram for gram in grams if gram not in given]
        elicited = elicits(question, self.names)
        return ReplyMeasures(
            k=k,
            elicited=elicited,
            introduces=introduces(reply, self.names),
            restates=self._restates(tokens, asked),
            xtr4=_share(own, self._ngrams) if k else None,
            pcr4=_share(own, card_ngrams(self.card)) if k else None,
            duplicate=self._duplicate(tokens) if k else None,
            same_opening=self._same_opening(tokens) if k else None,
            sr4=1 - len(set(grams)) / len(grams) if grams else None,
            names_itself=gives_name(reply, self.names) if elicited else None,
            words=len(tokens),
        )

    def _restates(self, tokens: list[str], asked: list[str]) -> bool:
        if not self._stated:
            return False
        said, question = content_words(tokens), content_words(asked)
        return any(states(fact, said) and not states(fact, question) for fact in self._stated)

    def _duplicate(self, tokens: list[str]) -> bool | None:
        if len(tokens) < _SHORTEST_DUPLICATE:
            return None
        return any(similar(tokens, before, DUPLICATE) for before in self._replies)

    def _same_opening(self, tokens: list[str]) -> bool | None:
        if len(tokens) < _OPENING:
            return None
        return tuple(tokens[:_OPENING]) in self._openings


def _share(grams: list[Ngram], known: set[Ngram] | frozenset[Ngram]) -> float | None:
    return sum(gram in known for gram in grams) / len(grams) if grams else None
