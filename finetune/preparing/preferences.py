"""What a log says about better and worse replies: pairs, votes, and what should not be said again.

All of it comes from dialogues after the filters, which know both what stood in the log and what was
left of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from finetune.preparing.replies import asked
from finetune.preparing.windows import Windows
from finetune.sources.dialogue import Dialogue
from finetune.training_set import Pair, Unwanted, Vote
from persona_prompts.identity.introductions import elicits, introductions
from persona_prompts.identity.patterns import APOSTROPHES
from persona_prompts.identity.text_units import NGRAM, Ngram, ngrams, words
from persona_prompts.speakers import clean_text

Span = tuple[int, int]

_STRAIGHT = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))  # as `words` reads them


@dataclass(frozen=True, slots=True)
class Preferences:
    """What was found in some dialogues."""

    pairs: tuple[Pair, ...] = ()
    votes: tuple[Vote, ...] = ()
    unwanted: tuple[Unwanted, ...] = ()


def preferences(dialogues: Iterable[Dialogue], windows: Windows) -> Preferences:
    """Everything in `dialogues`; prompts are the ones that the bot would be given."""
    pairs: list[Pair] = []
    votes: list[Vote] = []
    unwanted: list[Unwanted] = []
    for dialogue in dialogues:
        pairs += _pairs(dialogue, windows)
        votes += _votes(dialogue, windows)
        unwanted += _unwanted(dialogue, windows)
    return Preferences(
        tuple(dict.fromkeys(pairs)), tuple(dict.fromkeys(votes)), tuple(dict.fromkeys(unwanted))
    )


def _pairs(dialogue: Dialogue, windows: Windows) -> Iterator[Pair]:
    """(cleaned, logged) where an introduction was cut, (kept, other) where there are variants.

    Only replies that are taught are ever the chosen ones.
    """
    for at, said in enumerate(dialogue.said):
        if not said.teachable or (said.logged is None and not said.variants):
            continue
        prompt = windows.prompt(dialogue, at)
        if prompt is None:
            continue
        chosen = clean_text(said.line.text)
        if said.logged is not None and (rejected := clean_text(said.logged)) != chosen:
            yield Pair(prompt, chosen, rejected, "introduction")
        for variant in said.variants:
            rejected = clean_text(variant)
            if rejected and rejected != chosen and rejected != clean_text(said.logged or ""):
                yield Pair(prompt, chosen, rejected, "regeneration")


def _votes(dialogue: Dialogue, windows: Windows) -> Iterator[Vote]:
    """👍 where it prevails and the reply is taught, without introductions; 👎 as it was said."""
    for at, said in enumerate(dialogue.said):
        liked = said.likes > said.dislikes
        disliked = said.dislikes > said.likes
        meant = said.teachable if liked else disliked and bool(asked(dialogue, at))
        if not meant or not said.ended:
            continue
        text = clean_text(said.line.text if liked else said.as_logged.line.text)
        prompt = windows.prompt(dialogue, at) if text else None
        if prompt is not None:
            yield Vote(prompt, text, liked)


def _unwanted(dialogue: Dialogue, windows: Windows) -> Iterator[Unwanted]:
    """Introductions nobody asked for, and what the character had said before, as it was logged.

    Said before is what stands in an earlier reply, and what the reply itself says again.
    """
    names = dialogue.names
    logged = replace(dialogue, said=tuple(said.as_logged for said in dialogue.said))
    earlier: set[Ngram] = set()
    for at, said in enumerate(logged.said):
        text = clean_text(said.line.text)
        if not said.line.own or not text:
            continue
        questions = asked(logged, at)
        if questions and said.finish != "error":
            spans = [
                *repeated_spans(text, earlier, "\n".join(questions)),
                *spans_said_again(text),
            ]
            if not any(elicits(question, names) for question in questions):
                spans += introductions(text, names)
            prompt = windows.prompt(logged, at) if spans else None
            if prompt is not None:
                yield Unwanted(prompt, text, tuple(joined(spans)))
        earlier.update(ngrams(words(text)))


def repeated_spans(reply: str, earlier: set[Ngram], question: str) -> Iterator[Span]:
    """Where 4-grams stand that are in `earlier` and not in `question`, as XTR4 counts them."""
    tokens = words(reply)
    places = word_spans(reply, tokens)
    given = set(ngrams(words(question)))
    for at, gram in enumerate(ngrams(tokens)):
        if gram in earlier and gram not in given:
            yield places[at][0], places[at + NGRAM - 1][1]


def spans_said_again(reply: str) -> Iterator[Span]:
    """Where 4-grams stand that the reply has said already, as SR4 counts them."""
    tokens = words(reply)
    places = word_spans(reply, tokens)
    said: set[Ngram] = set()
    for at, gram in enumerate(ngrams(tokens)):
        if gram in said:
            yield places[at][0], places[at + NGRAM - 1][1]
        said.add(gram)


def word_spans(text: str, tokens: Sequence[str]) -> list[Span]:
    """Character offsets of `tokens`, the `words` of `text` in order."""
    plain = text.translate(_STRAIGHT)
    # In lower case some characters are two; there, offsets have to be traced back.
    small = plain.lower()
    if len(small) == len(plain):
        origin: Sequence[int] = range(len(plain))
    else:
        origin = [at for at, character in enumerate(plain) for _ in character.lower()]
    found: list[Span] = []
    at = 0
    for token in tokens:
        # Between two words stands nothing that a word could begin with.
        start = small.index(token, at)
        at = start + len(token)
        found.append((origin[start], origin[at - 1] + 1))
    return found


def joined(spans: Iterable[Span]) -> list[Span]:
    """`spans` in order, those that touch or overlap as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
