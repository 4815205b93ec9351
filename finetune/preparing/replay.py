"""Public dialogue mixed into a set, with whose it is and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import InputError
from finetune.sources.dialogue import Dialogue
from finetune.sources.formats import read_source


@dataclass(frozen=True, slots=True)
class Replay:
    """Dialogues of a public set, and what its owners want to be said of it."""

    file: str
    licence: str
    attribution: str
    dialogues: tuple[Dialogue, ...]

    def described(self, examples: int) -> dict[str, Any]:
        """What the report and the adapter's card keep."""
        return {
            "file": self.file,
            "licence": self.licence,
            "attribution": self.attribution,
            "examples": examples,
        }


def read_replay(file: Path, licence: str, attribution: str) -> Replay:
    """A file of any format, its licence and attribution named by who uses it.

    Raises `InputError` if one of the two is missing, and as `read_source`.
    """
    for option, value in (("licence", licence), ("attribution", attribution)):
        if not value.strip():
            raise InputError(
                f"What is learnt from {file} is recorded with the adapter; name its {option} with"
                f" --replay_{option}."
            )
    return Replay(file.name, licence.strip(), attribution.strip(), tuple(read_source(file)))
