"""What commands give back, whichever front end shows it."""

from __future__ import annotations

from dataclasses import dataclass

from persona_prompts.character import Character


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that comes with an answer."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Sheet:
    """A character's card laid out: Discord shows it as an embed with the picture.

    `rows` are title and text; `picture` is a PNG, None where it is damaged. `lead` is said above.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    picture: Attachment | None = None
    footer: str = ""
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says. `public`: everybody in the channel should see it.

    `enters`: this character takes the stage now; the front end lets `Commands.greet` show it.
    `sheet` takes the place of `text` where a front end can lay it out.
    """

    text: str
    public: bool = False
    enters: Character | None = None
    file: Attachment | None = None
    sheet: Sheet | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One entry of an autocomplete list."""

    value: str
    label: str
