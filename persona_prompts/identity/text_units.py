"""What the measures count: words, 4-grams, facts, common subsequences."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache

import regex

from persona_prompts.identity.patterns import APOSTROPHES, words_of
from persona_prompts.identity.sentences import sentences

NGRAM = 4
FACT_SHARE = 0.6  # of a sentence's content words, for it to count as stated
_LEAST_FACT = 2  # content words; a single one is no fact that could be restated

Ngram = tuple[str, ...]

_IDEOGRAM = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = regex.compile(
    rf"[{_IDEOGRAM}]|(?:(?![{_IDEOGRAM}])[\p{{L}}\p{{M}}\p{{N}}])++"
    rf"(?:'(?:(?![{_IDEOGRAM}])[\p{{L}}\p{{M}}\p{{N}}])++)*+"
)
_HAN = regex.compile(rf"[{_IDEOGRAM}]")
_HANGUL = regex.compile(r"\p{Hangul}")
_STRAIGHT = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))


def words(text: str) -> list[str]:
    """The lower-cased words of `text`, without punctuation.

    Chinese and Japanese have no spaces between words: there each character counts as one. Korean
    words are what stands between spaces.
    """
    return _WORD.findall(text.translate(_STRAIGHT).lower())


def ngrams(tokens: Sequence[str], size: int = NGRAM) -> list[Ngram]:
    """Every run of `size` words, repeated ones included."""
    return list(zip(*(tokens[start:] for start in range(size)), strict=False))


def content_words(tokens: Sequence[str]) -> frozenset[str]:
    """What of `tokens` says something: no function words; of Chinese, pairs of characters.

    Single characters are too common to tell one fact from another. Korean words lose the particle
    at their end.
    """
    stop = _stopwords()
    found = {
        _without_particle(token)
        for token in tokens
        if token not in stop and len(token) > 1 and not _HAN.match(token)
    }
    pairs = itertools.pairwise(tokens)
    found |= {
        a + b for a, b in pairs if _HAN.match(a) and _HAN.match(b) and {a, b}.isdisjoint(stop)
    }
    return frozenset(found)


@lru_cache(maxsize=512)
def facts(card: str) -> tuple[frozenset[str], ...]:
    """The content words of each sentence of a card, a sentence a fact."""
    spans = sentences(card)
    found = (content_words(words(card[start:end])) for start, end in spans)
    return tuple(fact for fact in found if len(fact) >= _LEAST_FACT)


@lru_cache(maxsize=512)
def card_ngrams(card: str) -> frozenset[Ngram]:
    """The distinct 4-grams of a card."""
    return frozenset(ngrams(words(card)))


def states(fact: frozenset[str], said: Collection[str]) -> bool:
    """Whether the content words `said` hold at least 60 % of those of `fact`."""
    return len(fact.intersection(said)) >= FACT_SHARE * len(fact)


def similar(a: Sequence[str], b: Sequence[str], threshold: float) -> bool:
    """Whether the ROUGE-L F1 of two word sequences (Lin 2004) is at least `threshold`.

    F1 is 2 · LCS / (|a| + |b|), LCS the length of the longest common subsequence.
    """
    needed = threshold * (len(a) + len(b)) / 2
    if not a or not b or min(len(a), len(b)) < needed:
        return False
    if len(a) == len(b) and list(a) == list(b):
        return True
    if (Counter(a) & Counter(b)).total() < needed:
        return False
    return longest_common_subsequence(a, b) >= needed


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Its length, by the bit-parallel method of Hyyrö (2004): a step a word of `b`."""
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    everything = (1 << len(a)) - 1
    row = everything
    for word in b:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(a) - row.bit_count()


@cache
def _stopwords() -> frozenset[str]:
    languages = ("english", "chinese", "korean")
    return frozenset(word for language in languages for word in words_of("stopwords", language))


@cache
def _particles() -> tuple[str, ...]:
    return tuple(sorted(words_of("stopwords", "korean_particles"), key=len, reverse=True))


def _without_particle(word: str) -> str:
    if _HANGUL.match(word) is None:
        return word.removesuffix("'s")
    return next(_stems(word), word)


def _stems(word: str) -> Iterator[str]:
    for particle in _particles():
        if word.endswith(particle) and len(word) - len(particle) >= 2:
            yield word.removesuffix(particle)
