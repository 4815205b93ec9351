"""How the model is asked for a summary, and whether what it wrote is one."""

from __future__ import annotations

from collections.abc import Sequence

from db.channels import Channel
from inference.adapters import BASE
from inference.types import GenerationRequest, Message, Sampling
from persona_prompts.character import Character
from persona_prompts.identity.sentences import sentences
from persona_prompts.identity.text_units import ngrams, words
from persona_prompts.prompt import Line
from persona_prompts.speakers import clean_text, one_line, speaker_name

_INSTRUCTION = (
    "You keep the record of a conversation. You write down what was said and done, with names, in"
    " the past tense and in the language of the conversation. You add nothing of your own."
)
_TASK = "Write all of this down again as one short paragraph of at most {words} words."
_WORDS_PER_TOKEN = 0.6
_LEAST_WORDS = 3
_MOST_REPEATED = 0.5  # share of 4-grams that stand in the summary before


def summary_request(
    channel: Channel, character: Character, told: str, lines: Sequence[Line], tokens: int
) -> GenerationRequest:
    """What the model is asked to sum up: the summary so far, `told`, and then `lines`.

    By the model without adapter, since adapters are trained to talk, and in the background.
    """
    name = character.called
    said = (
        f"{name if line.own else speaker_name(line.speaker, taken=name)}: {one_line(line.text)}"
        for line in lines
        if line.text.strip()
    )
    before = [f"Before: {clean_text(told)}"] if told else []
    task = _TASK.format(words=int(tokens * _WORDS_PER_TOKEN))
    content = "\n".join([*before, *said, "", task])
    return GenerationRequest(
        messages=(
            Message(role="system", content=_INSTRUCTION),
            Message(role="user", content=content),
        ),
        background=True,
        adapter=BASE,
        sampling=Sampling(
            temperature=0.3, repetition_penalty=1.05, dry_multiplier=0.8, max_new_tokens=tokens
        ),
        guild=channel.guild_key or "",
        channel=f"{channel.key} summary",  # its prefixes are no use to the channel's replies
        user="",
    )


def cut_to_sentences(text: str) -> str:
    """`text`, which was broken off, up to its last whole sentence; all of it if it has but one."""
    text = text.strip()
    spans = sentences(text)
    return text[: spans[-2][1]] if len(spans) > 1 else text


def is_usable(text: str) -> bool:
    """Whether `text` says something and is no loop."""
    tokens = words(text)
    grams = ngrams(tokens)
    repeated = 1 - len(set(grams)) / len(grams) if grams else 0.0
    return len(tokens) >= _LEAST_WORDS and repeated <= _MOST_REPEATED
