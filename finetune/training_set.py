"""What `prepare` hands to `train`: a folder of JSONL files, one row an example.

    train.jsonl        {"messages": [{"role", "content", "taught", "ended"}, …], "source": "…"}
    validation.jsonl   the same, from channels of which nothing is in train.jsonl
    pairs.jsonl        {"prompt": [{"role", "content"}, …], "chosen", "rejected", "kind"}
    votes.jsonl        {"prompt": […], "reply", "liked"}
    unwanted.jsonl     {"prompt": […], "reply", "spans": [[start, end], …]}
    report.json        where it came from, and how many dialogues and turns every step left

`taught` (true for assistants when missing) and `ended` (true when missing) are those of
`dataset.Turn`; spans are character offsets into the reply.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.dataset import Example, Turn
from finetune.disk import is_full_disk
from finetune.errors import DiskFullError, InputError
from finetune.sources.json_files import json_lines, read_json
from inference.types import Message, Role

PairKind = Literal["introduction", "repetition", "regeneration", "best_of_n"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to the same prompt, one better than the other."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    kind: PairKind


@dataclass(frozen=True, slots=True)
class Vote:
    """A reply that a person marked with 👍 or 👎."""

    prompt: tuple[Message, ...]
    reply: str
    liked: bool


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A reply, and the parts of it (character offsets) that should not have been said there."""

    prompt: tuple[Message, ...]
    reply: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything that one training may learn from; what a method does not use, it leaves."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    pairs: tuple[Pair, ...] = ()
    votes: tuple[Vote, ...] = ()
    unwanted: tuple[Unwanted, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)


TRAIN_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
PAIRS_FILE = "pairs.jsonl"
VOTES_FILE = "votes.jsonl"
UNWANTED_FILE = "unwanted.jsonl"
REPORT_FILE = "report.json"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _TurnRow(_Row):
    role: Role
    content: str
    taught: bool | None = None
    ended: bool = True

    def turn(self) -> Turn:
        own = self.role == "assistant"
        taught = own if self.taught is None else self.taught
        if taught and not own:
            raise ValueError("only an assistant's message can be taught")
        return Turn(Message(role=self.role, content=self.content), taught, self.ended)


class _ExampleRow(_Row):
    messages: Annotated[list[_TurnRow], Field(min_length=1)]
    source: str = ""

    def value(self) -> Example:
        return Example(tuple(row.turn() for row in self.messages), self.source)


class _MessageRow(_Row):
    role: Role
    content: str


class _PairRow(_Row):
    prompt: list[_MessageRow]
    chosen: str
    rejected: str
    kind: PairKind

    def value(self) -> Pair:
        return Pair(_prompt(self.prompt), self.chosen, self.rejected, self.kind)


class _VoteRow(_Row):
    prompt: list[_MessageRow]
    reply: str
    liked: bool

    def value(self) -> Vote:
        return Vote(_prompt(self.prompt), self.reply, self.liked)


class _UnwantedRow(_Row):
    prompt: list[_MessageRow]
    reply: str
    spans: list[Annotated[list[int], Field(min_length=2, max_length=2)]]

    def value(self) -> Unwanted:
        spans = tuple((start, end) for start, end in self.spans)
        if any(not 0 <= start < end <= len(self.reply) for start, end in spans):
            raise ValueError(f"a span lies outside the reply of {len(self.reply)} characters")
        return Unwanted(_prompt(self.prompt), self.reply, spans)


def _prompt(rows: list[_MessageRow]) -> tuple[Message, ...]:
    return tuple(Message(role=row.role, content=row.content) for row in rows)


def read_training_set(folder: Path) -> TrainingSet:
    """What `write_training_set` wrote; only `train.jsonl` has to be there.

    Raises `InputError` naming the file, the line and what is wrong with it.
    """
    if not folder.is_dir():
        raise InputError(f"There is no training set {folder}; `finetune prepare` writes one.")
    if not (folder / TRAIN_FILE).is_file():
        raise InputError(f"{folder} is no training set: it holds no {TRAIN_FILE}.")
    return TrainingSet(
        train=_read(folder / TRAIN_FILE, _ExampleRow),
        validation=_read(folder / VALIDATION_FILE, _ExampleRow),
        pairs=_read(folder / PAIRS_FILE, _PairRow),
        votes=_read(folder / VOTES_FILE, _VoteRow),
        unwanted=_read(folder / UNWANTED_FILE, _UnwantedRow),
        report=_read_report(folder / REPORT_FILE),
    )


def _read(file: Path, kind: Any) -> tuple[Any, ...]:
    if not file.exists():
        return ()
    found = []
    for number, value in json_lines(file):
        try:
            found.append(kind.model_validate(value).value())
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            about = f": {key!r}" if key else ""
            raise InputError(
                f"{file}, line {number}{about} is not usable: {problem['msg'].lower()}."
            ) from None
        except ValueError as error:
            raise InputError(f"{file}, line {number} is not usable: {error}.") from None
    return tuple(found)


def _read_report(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    report = read_json(file)
    if not isinstance(report, dict):
        raise InputError(f"{file} must hold one object.")
    return report


def check_place(folder: Path) -> None:
    """Raises `InputError` if `folder` is taken by anything but a training set."""
    if not folder.exists() or (folder / TRAIN_FILE).is_file():
        return
    try:
        empty = folder.is_dir() and not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}.") from None
    if not empty:
        raise InputError(
            f"{folder} holds something other than a training set; choose another --output_dir."
        )


def write_training_set(made: TrainingSet, folder: Path) -> None:
    """Write `made` to `folder`, all of it or nothing; a training set that is there is replaced.

    Raises `InputError` if something else is there, or the place cannot be written or is full.
    """
    folder = folder.resolve()
    check_place(folder)
    files: dict[str, Iterator[Any]] = {
        TRAIN_FILE: map(_example_row, made.train),
        VALIDATION_FILE: map(_example_row, made.validation),
        PAIRS_FILE: (
            {
                "prompt": _rows(pair.prompt),
                "chosen": pair.chosen,
                "rejected": pair.rejected,
                "kind": pair.kind,
            }
            for pair in made.pairs
        ),
        VOTES_FILE: (
            {"prompt": _rows(vote.prompt), "reply": vote.reply, "liked": vote.liked}
            for vote in made.votes
        ),
        UNWANTED_FILE: (
            {"prompt": _rows(one.prompt), "reply": one.reply, "spans": one.spans}
            for one in made.unwanted
        ),
    }
    staging = folder.with_name(f".{folder.name}.staging-{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        for name, rows in files.items():
            with (staging / name).open("w", encoding="utf-8", errors="replace") as stream:
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        report = json.dumps(made.report, indent=2, ensure_ascii=False)
        (staging / REPORT_FILE).write_text(report + "\n", "utf-8", errors="replace")
        _replace(folder, staging)
    except OSError as error:
        if is_full_disk(error):
            raise DiskFullError(
                f"{folder} cannot be written: the disk is full; free some space."
            ) from error
        reason = error.strerror or error
        raise InputError(f"{folder} cannot be written: {reason}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(folder: Path, staging: Path) -> None:
    if not folder.exists():
        staging.rename(folder)
        return
    old = folder.with_name(f"{staging.name}-old")
    folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _example_row(example: Example) -> dict[str, Any]:
    messages = [
        {
            "role": turn.message.role,
            "content": turn.message.content,
            "taught": turn.taught,
            "ended": turn.ended,
        }
        for turn in example.turns
    ]
    return {"messages": messages, "source": example.source}


def _rows(prompt: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt]
