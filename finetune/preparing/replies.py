"""Which replies are worth teaching, and what of them; each filter is a step that is counted.

A reply that is not taught stays as context: what was said after it refers to it, and it is what the
bot will see of itself when it is served. Only introductions are cut out of the context as well,
since the more often one stands there, the likelier comes the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from config import PrepareSettings
from finetune.sources.dialogue import Dialogue, Said
from persona_prompts.identity.introductions import elicits, gives_name, without_introductions
from persona_prompts.identity.text_units import Ngram, ngrams, words
from persona_prompts.speakers import clean_text

Filter = Callable[[Dialogue], Dialogue]


def filters(settings: PrepareSettings) -> dict[str, Filter]:
    """The filters by the names under which they are counted, in their order."""
    return {
        "errors": partial(_without, unfit=lambda said: said.finish == "error"),
        "length limit": partial(_without, unfit=lambda said: said.finish == "length"),
        "empty": partial(_without, unfit=lambda said: not clean_text(said.line.text)),
        "introductions": without_unasked_introductions,
        "name forgotten": _without_forgotten_names,
        "repetition": partial(_without_repetition, settings=settings),
        "disliked": partial(_without, unfit=lambda said: said.dislikes > said.likes),
    }


def asked(dialogue: Dialogue, reply: int) -> list[str]:
    """What was said to the character since its last line before line `reply`, oldest first."""
    found: list[str] = []
    for said in reversed(dialogue.said[:reply]):
        if not clean_text(said.line.text):
            continue
        if said.line.own:
            break
        found.append(said.line.text)
    return found[::-1]


def without_unasked_introductions(dialogue: Dialogue) -> Dialogue:
    """`dialogue` without the sentences in which the character says unasked who it is.

    What it says before anybody spoke is its greeting and stays. A reply of which nothing remains
    says nothing any more and is not taught; `logged` keeps what it was.
    """
    names = dialogue.names
    found: list[Said] = []
    for at, said in enumerate(dialogue.said):
        questions = asked(dialogue, at) if said.line.own else []
        if questions and not any(elicits(question, names) for question in questions):
            text = without_introductions(said.line.text, names)
            if text != said.line.text:
                line = replace(said.line, text=text)
                teachable = said.teachable and bool(clean_text(text))
                said = replace(said, line=line, teachable=teachable, logged=said.line.text)
        found.append(said)
    return replace(dialogue, said=tuple(found))


def _without_forgotten_names(dialogue: Dialogue) -> Dialogue:
    """Replies are not taught that were asked for the name and do not give it."""
    if not dialogue.named:
        return dialogue
    names = dialogue.names
    found = []
    for at, said in enumerate(dialogue.said):
        if said.teachable and not gives_name(said.line.text, names):
            forgot = any(elicits(question, names) for question in asked(dialogue, at))
            said = replace(said, teachable=not forgot)
        found.append(said)
    return replace(dialogue, said=tuple(found))


def repeats(dialogue: Dialogue) -> Iterator[tuple[float, float]]:
    """XTR4 and SR4 of every line (0 where they are not defined, and for what people say)."""
    earlier: set[Ngram] = set()
    for at, said in enumerate(dialogue.said):
        if not said.line.own:
            yield 0.0, 0.0
            continue
        grams = ngrams(words(said.line.text))
        given = set(ngrams(words("\n".join(asked(dialogue, at)))))
        own = [gram for gram in grams if gram not in given]
        again = sum(gram in earlier for gram in own)
        yield again / len(own) if own else 0.0, 1 - len(set(grams)) / len(grams) if grams else 0.0
        earlier.update(grams)


def _without_repetition(dialogue: Dialogue, settings: PrepareSettings) -> Dialogue:
    if not dialogue.replies:
        return dialogue
    said = tuple(
        replace(said, teachable=False)
        if said.teachable and (xtr4 > settings.max_xtr4 or sr4 > settings.max_sr4)
        else said
        for said, (xtr4, sr4) in zip(dialogue.said, repeats(dialogue), strict=True)
    )
    return replace(dialogue, said=said)


def _without(dialogue: Dialogue, unfit: Callable[[Said], bool]) -> Dialogue:
    said = tuple(
        replace(said, teachable=False) if said.teachable and unfit(said) else said
        for said in dialogue.said
    )
    return replace(dialogue, said=said)
