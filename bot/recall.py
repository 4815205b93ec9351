"""Which older moment answers to what was just said; none, rather than one that misleads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.messages import Message
from db.recall import MOST_WORDS, Hits, Recall
from persona_prompts.identity.text_units import content_words, words

_RARE = 0.02  # of the messages: a word so rare is enough by itself
_MOST_READ = 12  # candidates whose text is read


@dataclass(frozen=True, slots=True)
class Moment:
    """An older message. `relevance`: what share of the question's words it holds, rare ones
    counting more, from 0 to 1; `shared` are those words. `similarity`: how like the question it is
    by meaning, a cosine; None where that is not known."""

    message: Message
    relevance: float
    shared: tuple[str, ...]
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Recalled:
    """The moments for a prompt, oldest first, and the best one that was not relevant enough."""

    moments: tuple[Moment, ...] = ()
    passed_over: Moment | None = None


def query_words(text: str) -> list[str]:
    """What of `text` to search for, each word once, in its order."""
    found = content_words(words(text))
    ordered = sorted(found, key=lambda word: (text.lower().find(word), word))
    return ordered[:MOST_WORDS]


async def recall(
    store: Recall,
    channel_id: int,
    question: str,
    *,
    after: int,
    before: int,
    threshold: float,
    most: int,
    alike: Mapping[int, float] | None = None,
    similarity: float = 1.0,
) -> Recalled:
    """At most `most` moments of one channel, with ids between `after` and `before`.

    A moment is recalled for its words, from a relevance of `threshold` on, or for its meaning, from
    a cosine of `similarity` on; `alike` has the cosines of messages that may be.

    Relevance weighs each word of the question by how rare it is in that stretch (BM25's inverse
    document frequency, Robertson & Spärck Jones 1976); a word that stands nowhere counts like the
    rarest, so that a question about something else recalls nothing. One shared word is enough only
    if it is rare. Questions of people tell nothing and are left out.
    """
    wanted = query_words(question)
    hits = await store.hits(channel_id, wanted, after=after, before=before)
    alike = alike or {}
    found = _candidates(rank(hits, wanted), alike, max(_MOST_READ, most), threshold, similarity)
    messages = {m.id: m for m in await store.read(channel_id, [one.message_id for one in found])}
    kept: list[Moment] = []
    passed_over: Moment | None = None
    texts: set[str] = set()
    for one in found:
        message = messages.get(one.message_id)
        if message is None or not after < message.place < before or _asks(message):
            continue
        if message.content in texts:
            continue
        texts.add(message.content)
        moment = Moment(message, one.relevance, one.shared, alike.get(message.id))
        by_words = one.relevance >= threshold and _enough(one.shared, hits)
        if (by_words or alike.get(message.id, -1.0) >= similarity) and len(kept) < most:
            kept.append(moment)
        elif passed_over is None:
            passed_over = moment
    kept.sort(key=lambda moment: (moment.message.place, moment.message.id))
    return Recalled(tuple(kept), passed_over)


@dataclass(frozen=True, slots=True)
class _Candidate:
    message_id: int
    relevance: float = 0.0
    shared: tuple[str, ...] = ()


def _candidates(
    ranked: Sequence[tuple[int, float, tuple[str, ...]]],
    alike: Mapping[int, float],
    most: int,
    threshold: float,
    similarity: float,
) -> list[_Candidate]:
    """What was found by words and by meaning, the nearest by either measure first."""
    by_words = {one[0]: _Candidate(*one) for one in ranked}
    wanted = dict.fromkeys([*list(by_words)[:most], *alike])

    def nearness(one: _Candidate) -> float:
        return max(one.relevance / threshold, alike.get(one.message_id, 0.0) / similarity)

    found = [by_words.get(key, _Candidate(key)) for key in wanted]
    return sorted(found, key=lambda one: (-nearness(one), -one.message_id))


def rank(hits: Hits, wanted: Sequence[str]) -> list[tuple[int, float, tuple[str, ...]]]:
    """Message ids, relevance and shared words; the most relevant first, of equals the newest."""
    weights = {word: _weight(len(hits.by_word.get(word, ())), hits.searched) for word in wanted}
    shared: dict[int, list[str]] = {}
    for word in wanted:
        for message_id in hits.by_word.get(word, ()):
            shared.setdefault(message_id, []).append(word)
    total = sum(weights.values())
    ranked = [
        (message_id, sum(weights[word] for word in found) / total, tuple(found))
        for message_id, found in shared.items()
    ]
    return sorted(ranked, key=lambda item: (-item[1], -item[0]))


def _weight(standing_in: int, of: int) -> float:
    return math.log(1 + (max(of, standing_in) - standing_in + 0.5) / (standing_in + 0.5))


def _enough(shared: Sequence[str], hits: Hits) -> bool:
    """Whether so few shared words can be more than chance."""
    rare = max(3.0, _RARE * hits.searched)
    return len(shared) > 1 or any(len(hits.by_word[word]) <= rare for word in shared)


def _asks(message: Message) -> bool:
    return message.role == "user" and message.content.rstrip(' "*”’').endswith(("?", "？"))
