"""Which older moment answers to what was just said; none, rather than one that misleads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from db.messages import Message
from db.recall import MOST_WORDS, Hits, Recall
from persona_prompts.identity.text_units import content_words, words

_RARE = 0.02  # of the messages: a word so rare is enough by itself
_MOST_READ = 12  # candidates whose text is read


@dataclass(frozen=True, slots=True)
class Moment:
    """An older message. `relevance`: what share of the question's words it holds, rare ones
    counting more, from 0 to 1; `shared` are those words."""

    message: Message
    relevance: float
    shared: tuple[str, ...]


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
) -> Recalled:
    """At most `most` moments of one channel, with ids between `after` and `before`.

    Relevance weighs each word of the question by how rare it is in that stretch (BM25's inverse
    document frequency, Robertson & Spärck Jones 1976); a word that stands nowhere counts like the
    rarest, so that a question about something else recalls nothing. One shared word is enough only
    if it is rare. Questions of people tell nothing and are left out.
    """
    wanted = query_words(question)
    hits = await store.hits(channel_id, wanted, after=after, before=before)
    ranked = rank(hits, wanted)
    best = ranked[: max(_MOST_READ, most)]
    messages = {m.id: m for m in await store.read(channel_id, [at for at, _, _ in best])}
    kept: list[Moment] = []
    passed_over: Moment | None = None
    texts: set[str] = set()
    for message_id, relevance, shared in best:
        message = messages.get(message_id)
        if message is None or not after < message.place < before or _asks(message):
            continue
        if message.content in texts:
            continue
        texts.add(message.content)
        moment = Moment(message, relevance, shared)
        if relevance >= threshold and _enough(shared, hits) and len(kept) < most:
            kept.append(moment)
        elif passed_over is None:
            passed_over = moment
    kept.sort(key=lambda moment: (moment.message.place, moment.message.id))
    return Recalled(tuple(kept), passed_over)


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
