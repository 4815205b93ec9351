"""The folder of one run: what each stage made, whole or not at all.

    data/retraining/KEY/run.json     the run as its row has it; lost rows are made anew from it
                        STAGE/       a finished stage: its files, and result.json with their digests
                        .STAGE/      a stage at work, or what a killed one left to go on from

A stage is finished in one rename, after everything in its folder has reached the disk. Digests tell
what a power cut or a bad disk did to it afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from db.runs import Run

RUN_FILE = "run.json"
RESULT_FILE = "result.json"
_OTHERS_WRITE = ("cancel_requested", "announced_at")  # these stand in the row only


class Damaged(Exception):
    """What was written is not what is on the disk; the message says which file."""


class Workspace:
    """`folder` of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # -- the run -------------------------------------------------------------------------------

    def write_run(self, run: Run) -> None:
        """Keep `run`, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {key: value for key, value in asdict(run).items() if key not in _OTHERS_WRITE}
        write_durably(self.folder / RUN_FILE, json.dumps(values, indent=2, ensure_ascii=False))

    def read_run(self) -> Run:
        """What `write_run` wrote. Raises `Damaged`."""
        file = self.folder / RUN_FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            known = {field.name for field in fields(Run)}
            return Run(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise Damaged(f"{RUN_FILE} cannot be read ({error})") from None

    # -- stages --------------------------------------------------------------------------------

    def place(self, stage: str) -> Path:
        """Where the files of a finished stage lie."""
        return self.folder / stage

    def staging(self, stage: str, *, fresh: bool = True) -> Path:
        """The folder that a stage works in; unless `fresh`, with what a killed one left there."""
        folder = self.folder / f".{stage}"
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def complete(
        self, stage: str, result: dict[str, Any], *, loose: Collection[str] = ()
    ) -> dict[str, Any]:
        """Finish a stage with what lies in its staging folder, in one step; returns `result`.

        Files named in `loose` may change or go afterwards.
        """
        staging = self.staging(stage, fresh=False)
        files = {
            str(file.relative_to(staging)): _digest(file)
            for file in sorted(staging.rglob("*"))
            if file.is_file() and file.name != RESULT_FILE
        }
        kept = {name: digest for name, digest in files.items() if name not in loose}
        body = {"stage": stage, "result": result, "files": kept}
        text = json.dumps({**body, "digest": _text_digest(body)}, indent=2, ensure_ascii=False)
        write_durably(staging / RESULT_FILE, text)
        for folder in [staging, *(entry for entry in staging.rglob("*") if entry.is_dir())]:
            sync_folder(folder)
        shutil.rmtree(self.place(stage), ignore_errors=True)
        staging.rename(self.place(stage))
        sync_folder(self.folder)
        return result

    def result(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage came to; None if it is not finished. Raises `Damaged`."""
        place = self.place(stage)
        if not place.is_dir():
            return None
        try:
            body = json.loads((place / RESULT_FILE).read_text(encoding="utf-8"))
            digest = body.pop("digest")
            found: dict[str, Any] = body["result"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise Damaged(f"the result of the stage {stage} cannot be read") from None
        if digest != _text_digest(body):
            raise Damaged(f"the result of the stage {stage} was changed")
        for name, expected in body["files"].items():
            try:
                whole = _digest(place / name) == expected
            except OSError:
                whole = False
            if not whole:
                raise Damaged(f"{stage}/{name} is missing or damaged")
        return found

    def discard(self, *stages: str) -> None:
        """Forget what `stages` made, finished or not."""
        for stage in stages:
            shutil.rmtree(self.place(stage), ignore_errors=True)
            shutil.rmtree(self.folder / f".{stage}", ignore_errors=True)

    def shrink(self, keep: Collection[str]) -> None:
        """Of a run that is over, keep the stages named; what people said goes."""
        for entry in self.folder.iterdir():
            if entry.is_dir() and entry.name not in keep:
                shutil.rmtree(entry, ignore_errors=True)


def write_durably(file: Path, text: str) -> None:
    """Put `text` into `file` in one step, on the disk when this returns."""
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("w", encoding="utf-8", errors="replace") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder`, too, reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(file: Path) -> str:
    """sha256 of a file, which has reached the disk afterwards."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text_digest(body: dict[str, Any]) -> str:
    # Through JSON, so that what is written and what is read back are compared alike.
    plain = json.loads(json.dumps(body))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
