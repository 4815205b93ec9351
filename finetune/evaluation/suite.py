"""Scripted users: who they talk with, and what they say whatever the answer is.

{"id": "lamplighter", "name": "Hesper Quill", "aliases": ["Hesper"], "language": "en",
 "persona": "Hesper Quill lights the lamps …", "user_turns": ["Evening.", "Who are you?", …]}
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from finetune.errors import InputError
from finetune.sources.json_files import json_lines
from persona_prompts.character import Character
from persona_prompts.prompt import fill_macros
from persona_prompts.speakers import clean_text, speaker_name

SUITES = Path(__file__).parent.parent / "suites"
SHIPPED = ("development", "test")
USER_NAME = "Robin"  # as whom every scripted user speaks

Row = TypeVar("Row", bound=BaseModel)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class SuiteRow(BaseModel):
    """Rules of all rows."""

    # Other programs' suites may carry more about a row.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ScriptedUser(SuiteRow):
    """One dialogue's script."""

    id: Text
    name: Text
    aliases: list[Text] = Field([])
    persona: Text
    user_turns: list[Text] = Field(min_length=1)
    language: str = "en"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def card(self) -> str:
        """The text that describes the character, macros filled."""
        return clean_text(fill_macros(self.persona, self.name, USER_NAME))

    @property
    def character(self) -> Character:
        """The character as the bot would have it; it has no greeting and waits."""
        return Character(
            id=self.id, name=self.name, aliases=tuple(self.aliases), description=self.persona
        )


def find_suite(named: str) -> Path:
    """The file of a shipped suite (`development`, `test`), or the file that `named` is."""
    return SUITES / f"{named}.jsonl" if named in SHIPPED else Path(named)


def read_suite(file: Path) -> list[ScriptedUser]:
    """The scripts in `file`, JSONL.

    Raises `InputError` (one sentence with file, line and key) for a file that is missing, no JSONL
    or empty, for a row that lacks something, for an id given twice, and for a name that a prompt
    would have to change.
    """
    users: list[ScriptedUser] = []
    seen: dict[str, int] = {}
    for line, value in read_rows(file):
        user = checked(ScriptedUser, value, f"{file}, line {line}")
        for name in user.names:
            if speaker_name(name) != name:
                raise InputError(
                    f"{file}, line {line}: {name!r} cannot stand in a prompt as a speaker's name;"
                    " give it at most 32 characters, without colons, brackets or a role's word."
                )
        if user.id in seen:
            raise InputError(
                f"{file}, line {line}: the id {user.id!r} is that of line {seen[user.id]} already;"
                " give every row its own."
            )
        seen[user.id] = line
        users.append(user)
    return users


def write_whole(file: Path, text: str) -> None:
    """Write `text` to `file`, which keeps what it held if that fails.

    Raises `InputError` where nothing can be written.
    """
    draft = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as stream:
            draft = Path(stream.name)
            stream.write(text)
        umask = os.umask(0o077)
        os.umask(umask)
        draft.chmod(0o666 & ~umask)  # temporary files are for their owner alone
        draft.replace(file)
    except OSError as error:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise InputError(f"{file} cannot be written: {error.strerror or error}.") from None


def read_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file with their line numbers. Raises `InputError`."""
    empty = True
    for row in json_lines(file):
        empty = False
        yield row
    if empty:
        raise InputError(f"{file} holds no row; give it one JSON object a line.")


def checked(kind: type[Row], value: Any, where: str) -> Row:
    """`value` as the pydantic model `kind`; an `InputError` names the place and the key."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        if not key:
            raise InputError(f"{where} is no JSON object.") from None
        if problem["type"] == "missing":
            raise InputError(f"{where}: {key} is missing.") from None
        reason = problem["msg"][0].lower() + problem["msg"][1:]
        raise InputError(f"{where}: {key} is not usable: {reason}.") from None
