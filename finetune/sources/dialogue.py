"""What every source is read into: one character's talk with people, line by line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from persona_prompts.character import Character
from persona_prompts.prompt import Line
from persona_prompts.speakers import clean_text, speaker_name

# How a reply came to its end: by itself, at the length limit, or broken off by an error or a crash.
Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Said:
    """One line of a dialogue.

    `teachable`: a reply to the line before it that may be learnt. `author`: the source's key of
    who spoke, empty where it knows none. `at`: Unix seconds, None where the source holds no times.
    `likes` and `dislikes` count people. `variants`: other replies to the same line that were not
    kept. `logged`: what stood in the log, where cleaning has changed `line`.
    """

    line: Line
    teachable: bool = False
    finish: Finish = "stop"
    author: str = ""
    at: float | None = None
    likes: int = 0
    dislikes: int = 0
    variants: tuple[str, ...] = ()
    logged: str | None = None

    @property
    def ended(self) -> bool:
        """False for what broke off: it must not be taught as the end of a reply."""
        return self.finish == "stop"

    @property
    def as_logged(self) -> Said:
        """The line as it was before cleaning."""
        if self.logged is None:
            return self
        return replace(self, line=replace(self.line, text=self.logged), logged=None)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What one character remembers of one scene, oldest first.

    `source` is the channel's key, or the file and row: nothing of one source stands in both the
    training and the validation set. `named`: the character is known by its name; a file of plain
    chats has none, and then no system message is made up either. `present` holds key and name of
    everybody in the place, also of those of whom no line is here: they may be spoken of.
    `card_from_file`: the system message was logged with the chat, so that it may tell of people.
    """

    character: Character
    group: bool
    said: tuple[Said, ...]
    source: str = ""
    named: bool = True
    present: tuple[tuple[str, str], ...] = ()
    card_from_file: bool = False

    @property
    def replies(self) -> int:
        return sum(said.teachable for said in self.said)

    @property
    def names(self) -> tuple[str, ...]:
        """What the character is called."""
        return (self.character.name, *self.character.aliases)

    @property
    def has_card(self) -> bool:
        """Whether a system message stands at the top."""
        return self.named or bool(self.character.system_prompt)


NOBODY = Character(id="assistant", name="Assistant")


def speaking_as(system: str, name: str = "") -> Character:
    """The character of a chat that brings a system message instead of a card, and maybe a name."""
    return replace(NOBODY, name=speaker_name(name) if name else NOBODY.name, system_prompt=system)


def by_character(scene: Iterable[tuple[Said, str]]) -> Iterator[tuple[str, list[Said]]]:
    """`scene` split where another character took over: it remembers only what came after.

    Beside each line stands the character that said it, or nothing for people. What stays teachable
    are the replies to what people said since the last one. People's lines that say nothing vanish;
    a part in which no character speaks too.
    """
    speaking = ""
    lines: list[Said] = []
    heard = False  # somebody spoke since the last reply that said anything
    for said, character in scene:
        says_something = bool(clean_text(said.line.text))
        if not character and not says_something:
            continue
        if character and character != speaking:
            if speaking:
                yield speaking, lines
                unanswered = itertools.takewhile(lambda said: not said.line.own, reversed(lines))
                lines = list(unanswered)[::-1]
            speaking = character
        lines.append(replace(said, teachable=said.teachable and heard))
        if says_something:
            heard = not character
    if speaking:
        yield speaking, lines
