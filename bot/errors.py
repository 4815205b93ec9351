"""Which failures are already a sentence for whoever caused or met them."""

from __future__ import annotations

from db.database import DatabaseError
from inference.types import InferenceError
from persona_prompts.character import CharacterError
from persona_prompts.prompt import PromptTooLong

UNEXPECTED = "Something went wrong; the operator finds the reason in the log."


class CommandError(Exception):
    """A command that cannot be done; the message is one sentence that says what to change."""


_TOLD = (CommandError, CharacterError, DatabaseError, InferenceError, PromptTooLong)


def sentence_for(error: BaseException) -> str | None:
    """The sentence for a user, or None for a failure that nobody foresaw."""
    return str(error) if isinstance(error, _TOLD) else None
