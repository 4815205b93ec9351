"""What a name stood for, and when: the file `current` beside the versions of an adapter.

Its first line is the promoted version (`none` where no version ever was); each further line is a
`Promotion` as JSON, newest last. Replacing the file is the whole promotion, history included, so a
reader sees the old state or the new one and nothing between. A copy is written afterwards, for the
day on which the disk gives back something else than was written.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

log = logging.getLogger(__name__)

CURRENT_FILE = "current"
_COPY_FILE = "current.copy"
_LOCK_FILE = ".lock"
_NOTHING = "none"
_MOST = 200  # promotions that are remembered


class Promotion(BaseModel):
    """One change of what a name stands for. `back`: it was a return to an earlier version.

    `by` names a part of the project, never a person: forgetting somebody does not reach this file.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    at: float  # Unix seconds
    version: int
    previous: int | None  # None: it stood for nothing
    by: str = ""
    reason: str = ""
    run: str = ""  # of the retraining that it came from
    back: bool = False


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Nobody else changes what stands in `home` meanwhile; a killed process lets go by itself."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_decided(home: Path) -> bool:
    """Whether it was ever said what the name stands for."""
    return (home / CURRENT_FILE).exists()


def promoted(home: Path, versions: Sequence[int]) -> int | None:
    """Which of `versions`, oldest first, the name stands for; None: none of them.

    Where the word is gone, cannot be read, or names a version that is gone, it is the last one
    known to have served: the newest may be one that was rejected. Where nothing ever was said,
    because somebody put the folders there, it is the newest.
    """
    newest = versions[-1] if versions else None
    current = _read(home / CURRENT_FILE) or ""
    said = _first(current)
    if said == _NOTHING:
        return None
    if isinstance(said, int) and said in versions:
        return said
    copy = _read(home / _COPY_FILE) or ""
    return next((v for text in (current, copy) for v in _served(text) if v in versions), newest)


def history(home: Path) -> list[Promotion]:
    """Every promotion that is still remembered, newest first."""
    current = _read(home / CURRENT_FILE) or ""
    if _first(current) is None:
        current = _read(home / _COPY_FILE) or current
    return _promotions(current)[::-1]


def earlier(past: Sequence[Promotion], present: int | None, versions: Sequence[int]) -> int | None:
    """The version to go back to from `present`; None: there is none. `past` is newest first.

    Going back twice leads two promotions back, not to where one came from.
    """
    undo: list[int] = []
    for promotion in reversed(past):
        if not promotion.back:
            undo += [] if promotion.previous is None else [promotion.previous]
            continue
        while undo and undo.pop() != promotion.version:
            pass  # versions that were gone already were passed over
    return next((v for v in reversed(undo) if v in versions and v != present), None)


def taken_back(past: Sequence[Promotion], run: str) -> Promotion | None:
    """The rollback that undid what the retraining `run` promoted; None: none, or it stands again.

    `past` is newest first. Whoever rolled back need not have known of the run.
    """
    version, undone = None, None
    for change in reversed(past):
        if change.run == run and not change.back:
            version, undone = change.version, None
        elif version is not None and change.version == version:
            undone = None
        elif version is not None and change.back and change.previous == version:
            undone = change
    return undone


def write(home: Path, version: int | None, past: Sequence[Promotion]) -> None:
    """Let the name stand for `version`; `past`, newest first, is remembered. Call it `locked`."""
    lines = [p.model_dump_json() for p in past[:_MOST]][::-1]
    text = "\n".join([_NOTHING if version is None else str(version), *lines]) + "\n"
    replace_file(home / CURRENT_FILE, text)
    try:
        replace_file(home / _COPY_FILE, text)
    except OSError as error:
        log.warning("%s could not be copied: %s.", home / CURRENT_FILE, error)


def replace_file(file: Path, text: str) -> None:
    """Put `text` into `file` in one step that survives a power cut. Call it `locked`."""
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too, is on the disk
    finally:
        os.close(folder)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _first(text: str) -> int | str | None:
    """The version in the first line, or `none`; None if it is neither."""
    line = text.partition("\n")[0].strip()
    if line == _NOTHING:
        return _NOTHING
    return int(line) if line.isascii() and line.isdecimal() else None


def _served(text: str) -> Iterator[int]:
    """The versions that `text` says the name stood for, the latest first."""
    said = _first(text)
    if isinstance(said, int):
        yield said
    for promotion in reversed(_promotions(text)):
        yield promotion.version
        if promotion.previous is not None:
            yield promotion.previous


def _promotions(text: str) -> list[Promotion]:
    found = []
    for line in text.split("\n")[1:]:
        if not line.strip():
            continue
        try:
            found.append(Promotion.model_validate_json(line))
        except ValidationError:
            log.warning("A line of an adapter's history is damaged: %.80r", line)
    return found
