"""Dialogues without what tells who somebody is or how to get at them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from finetune.preparing.entities import Entities
from finetune.preparing.pseudonyms import Pseudonyms, Renaming, first_names
from finetune.preparing.secrets import PLACEHOLDER, Placeholders
from finetune.sources.dialogue import Dialogue, Said


class Scrubber:
    """Scrubs dialogues one by one and counts what it found."""

    def __init__(self, pseudonyms: Pseudonyms, entities: Entities | None = None) -> None:
        self._pseudonyms = pseudonyms
        self._entities = entities
        self._found: Counter[str] = Counter()

    @property
    def found(self) -> dict[str, int]:
        """How often each kind was replaced."""
        return dict(self._found.most_common())

    def scrub(self, dialogue: Dialogue) -> Dialogue:
        """`dialogue` with placeholders for secrets and made-up names for people.

        What the character said, its rejected variants, a system message that came with the chat
        and the people's keys are scrubbed too. The character's own names stay.
        """
        placeholders = Placeholders()
        renaming = self._pseudonyms.renaming(dialogue)
        before = renaming.count
        scrubber = _OneDialogue(placeholders, renaming, self._entities, dialogue.names)
        said = tuple(scrubber.said(one) for one in dialogue.said)
        character = dialogue.character
        if dialogue.card_from_file and character.system_prompt:
            system = scrubber.text(character.system_prompt)
            character = replace(character, system_prompt=system)
        self._found.update(placeholders.found)
        if renaming.count > before:
            self._found["name"] += renaming.count - before
        return replace(dialogue, character=character, said=said, present=())


class _OneDialogue:
    def __init__(
        self,
        placeholders: Placeholders,
        renaming: Renaming,
        entities: Entities | None,
        names: tuple[str, ...],
    ) -> None:
        self._placeholders = placeholders
        self._renaming = renaming
        self._entities = entities
        # Whom the entities' model must not take for somebody real.
        self._known = {word.casefold() for name in names for word in (name, *name.split())}
        self._known.update(name.casefold() for name in first_names())

    def said(self, said: Said) -> Said:
        line = said.line
        speaker = line.speaker
        if not line.own:
            speaker = self._renaming.speaker(said.author, speaker)
        return replace(
            said,
            line=replace(line, speaker=speaker, text=self.text(line.text)),
            author="",
            variants=tuple(map(self.text, said.variants)),
            logged=None if said.logged is None else self.text(said.logged),
        )

    def text(self, text: str) -> str:
        """`text` with placeholders and made-up names."""
        text = self._placeholders.scrub(text)
        # A person called "token" must not break the placeholder of one.
        ends = [0, *(at for match in PLACEHOLDER.finditer(text) for at in match.span()), len(text)]
        pieces = [text[start:end] for start, end in pairwise(ends)]
        pieces[::2] = [self._renaming.text(piece) for piece in pieces[::2]]
        return self._without_entities("".join(pieces))

    def _without_entities(self, text: str) -> str:
        if self._entities is None:
            return text
        for start, end, kind in reversed(self._entities.find(text)):
            value = text[start:end]
            if value.casefold() not in self._known and "[" not in value and "]" not in value:
                text = text[:start] + self._placeholders.placeholder(kind, value) + text[end:]
        return text
