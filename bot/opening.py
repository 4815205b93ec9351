"""Whether a reply opens with an introduction that nobody asked for, seen while it streams."""

from __future__ import annotations

from collections.abc import Sequence

from persona_prompts.identity.introductions import elicits, introductions
from persona_prompts.identity.measures import words
from persona_prompts.identity.sentences import sentences

_WORDS = 5  # "Ahoy!" alone is no opening yet
_LONGEST = 240  # characters that are held back at most


class Opening:
    """The first words of one reply; a reply is shown once they are known to be no introduction."""

    def __init__(self, question: str, names: Sequence[str]) -> None:
        """`question` is what the reply answers, `names` the character's name and aliases."""
        self._names = tuple(names)
        self._expected = elicits(question, self._names)

    def introduces(self, text: str, *, complete: bool) -> bool | None:
        """Whether `text`, the reply so far, opens with one; None as long as that is not known.

        The opening is the first sentence, with the next ones until there are five words.
        """
        if self._expected:
            return False
        end = _end_of_opening(text)
        if end is None:
            if not complete and len(text) < _LONGEST:
                return None
            end = min(len(text), _LONGEST)
        return bool(introductions(text[:end], self._names))


def _end_of_opening(text: str) -> int | None:
    """Where the opening ends; None if it may still go on. A last sentence never counts as ended."""
    spans = sentences(text)
    for _, end in spans[:-1]:
        if len(words(text[:end])) >= _WORDS:
            return end
    return None
