"""Which lines of a channel a character remembers when it answers a question."""

from __future__ import annotations

from collections.abc import Sequence

from db.messages import Message
from persona_prompts.prompt import Line


def scene_lines(history: Sequence[Message], question: Message, persona: str) -> list[Line]:
    """The lines of the prompt, oldest first; the last one is `question`.

    `history` is the present scene up to `question`, which a new scene may have left behind. What
    another persona said, and what was said before that, stays out, so that no history passes from
    one character to another.
    """
    kept: list[Message] = []
    for message in history:
        if message.role == "character" and message.persona != persona:
            kept.clear()
        elif message.id != question.id:
            kept.append(message)
    return [
        Line(message.author_name, message.content, own=message.role == "character")
        for message in [*kept, question]
    ]
