"""What scripted users and characters said to each other.

A row is that of a suite, and what was answered: `"replies"`, one a user turn, and where known
`"adapter"`, `"finish_reasons"` and `"errors"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.errors import InputError
from finetune.evaluation.suite import ScriptedUser, SuiteRow, Text, checked, read_rows, write_whole
from inference.types import FinishReason
from persona_prompts.character import Character

Ending = FinishReason | Literal["unknown"]


class _TranscriptRow(SuiteRow):
    id: Text
    name: Text
    aliases: list[Text] = Field([])
    persona: str = ""
    user_turns: list[str] = Field(min_length=1)
    language: str = "en"
    replies: list[str]
    adapter: str | None = None
    finish_reasons: list[Ending] | None = None
    errors: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered; after an `error` nothing was, and `text` is empty."""

    text: str
    finish_reason: Ending = "unknown"
    error: str = ""

    @property
    def silent(self) -> bool:
        """Whether the model ended before its first word; a mute model repeats nothing."""
        return self.finish_reason not in ("error", "cancelled") and not self.text.strip()

    @property
    def failed(self) -> bool:
        """Whether nothing came that could be measured."""
        return self.finish_reason == "error" or not self.text.strip()


@dataclass(frozen=True, slots=True)
class Transcript:
    """A dialogue that was played or logged: `replies[k]` answers `user.user_turns[k]`."""

    user: ScriptedUser
    adapter: str
    replies: tuple[Reply, ...]

    @property
    def character(self) -> Character:
        return self.user.character

    @property
    def user_turns(self) -> list[str]:
        return self.user.user_turns

    @property
    def failed(self) -> int:
        """Replies that were refused, ended in an error or before their first word.

        They are measured nowhere, but that silence does not answer a question for the name.
        """
        return sum(reply.failed for reply in self.replies)

    def row(self) -> dict[str, Any]:
        """As it is saved."""
        return {
            **self.user.model_dump(mode="json"),
            "adapter": self.adapter,
            "replies": [reply.text for reply in self.replies],
            "finish_reasons": [reply.finish_reason for reply in self.replies],
            "errors": [reply.error for reply in self.replies],
        }


def read_transcripts(file: Path, adapter: str = "") -> list[Transcript]:
    """The dialogues in `file`; rows that name no adapter are `adapter`'s, or the file's stem's.

    Raises `InputError` as `read_suite` does, and where replies and user turns do not pair.
    """
    found = []
    for line, value in read_rows(file):
        row = checked(_TranscriptRow, value, f"{file}, line {line}")
        found.append(_transcript(row, f"{file}, line {line}", adapter or file.stem))
    return found


def write_transcripts(file: Path, transcripts: Iterable[Transcript]) -> None:
    """Write them as `read_transcripts` reads them; `file` appears whole or not at all."""
    rows = (json.dumps(transcript.row(), ensure_ascii=False) for transcript in transcripts)
    write_whole(file, "".join(f"{row}\n" for row in rows))


def _transcript(row: _TranscriptRow, where: str, adapter: str) -> Transcript:
    count = len(row.replies)
    for key, values in (
        ("user_turns", row.user_turns),
        ("finish_reasons", row.finish_reasons),
        ("errors", row.errors),
    ):
        if values is not None and len(values) != count:
            raise InputError(
                f"{where}: there are {count} replies but {len(values)} {key}; give one a reply."
            )
    endings: Sequence[Ending] = row.finish_reasons or ["unknown"] * count
    errors = row.errors or [""] * count
    # Logs may hold a reply to nothing, which no script has.
    user = ScriptedUser.model_construct(
        id=row.id,
        name=row.name,
        aliases=row.aliases,
        persona=row.persona,
        user_turns=row.user_turns,
        language=row.language,
    )
    replies = zip(row.replies, endings, errors, strict=True)
    return Transcript(user, row.adapter or adapter, tuple(Reply(*reply) for reply in replies))
