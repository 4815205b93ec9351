"""What a character said of itself unasked is not shown to it again.

The more often a sentence stands in the context, the likelier it comes again (DITTO, Xu et al.
2022), so two introductions in the history call for a third. What is stored and what the channel
shows stays as it is; only prompts are built without them, in serving and in training alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from persona_prompts.identity.introductions import elicits, without_introductions
from persona_prompts.turns import Line


def without_unasked_introductions(history: Sequence[Line], names: Sequence[str]) -> list[Line]:
    """`history` (oldest first), its own lines without the sentences that introduce their speaker.

    As long as before: of a line of which nothing remains, the text is empty. A line stays whole if
    something said to the character since its line before asked who it is, and also before anybody
    spoke: that is the greeting. So does an own line at the end, which is to be continued. `names`
    are the character's name and aliases.
    """
    called = tuple(names)
    shown: list[Line] = []
    asked: list[str] = []
    ended = False  # whether the character has spoken since
    for place, line in enumerate(history, start=1):
        if not line.own:
            asked = [line.text] if ended else [*asked, line.text]
            ended = False
        else:
            ended = True
            text = _cut(line.text, called) if asked and place < len(history) else line.text
            if text != line.text and not any(_elicits(question, called) for question in asked):
                line = replace(line, text=text)
        shown.append(line)
    return shown


# A history is read again at every turn; the same lines come back many times.
@lru_cache(maxsize=8192)
def _cut(reply: str, names: tuple[str, ...]) -> str:
    return without_introductions(reply, names)


@lru_cache(maxsize=2048)
def _elicits(question: str, names: tuple[str, ...]) -> bool:
    return elicits(question, names)
