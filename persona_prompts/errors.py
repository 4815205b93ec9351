"""What is wrong with a character or a card, said once for whoever made it."""

from __future__ import annotations


class CharacterError(Exception):
    """A character cannot be used or found; the message is one sentence that says what to change."""
