"""Whose words a file's bot speaks: the persona that was named, one of the cast, or a new one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from persona_prompts.cast import Cast
from persona_prompts.character import Character, CharacterError
from persona_prompts.speakers import NAMELESS, speaker_name


@dataclass(frozen=True, slots=True)
class Naming:
    """Finds the character for a name that stands in a file.

    `persona` is what the user named for all of it. `bot_names` are the authors of a channel's
    export who are characters; empty: those that it marks as bots.
    """

    cast: Cast | None = None
    persona: Character | None = None
    bot_names: tuple[str, ...] = ()

    def character(self, name: str) -> Character:
        """The persona, else the one of the cast that is called so, else one without a card."""
        if self.persona is not None:
            return self.persona
        if self.cast is not None:
            try:
                return self.cast.get(name)
            except CharacterError:
                pass  # a character that no card describes
        usable = speaker_name(name)
        shown = "Assistant" if usable == NAMELESS else usable
        return Character(id=re.sub(r"\W+", "-", shown.lower()).strip("-"), name=shown)

    def is_bot(self, names: tuple[str, ...], marked: bool) -> bool:
        """Whether the author of these names (user name, nickname) is a character here."""
        known = [name.casefold() for name in self.bot_names]
        if known:
            return any(name.casefold() in known for name in names)
        return marked
