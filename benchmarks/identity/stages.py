"""A long experiment as stages, each done once: what a killed run has finished is not done again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

_RESULT = "stage.json"


class Stages:
    """Folders under one work folder, a stage each; a stage exists when it is complete."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        work.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, make: Callable[[Path], dict[str, Any]], **settings: Any) -> Path:
        """The folder of stage `name`, made by `make(folder)` unless it is there already.

        `make` fills the folder and returns its figures. Other `settings` than those it was made
        with make it anew; so must whatever it rests on be among them. Threads that want the same
        stage wait for one another.
        """
        with self._locks[name]:
            return self._run(name, make, settings)

    def _run(
        self, name: str, make: Callable[[Path], dict[str, Any]], settings: dict[str, Any]
    ) -> Path:
        folder = self.work / name
        wanted = json.loads(json.dumps(settings, default=str))
        if folder.exists() and self._read(folder).get("settings") == wanted:
            return folder
        staging = self.work / f".{name}.{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        print(f"{time.strftime('%H:%M:%S')} {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            figures = make(staging)
            seconds = round(time.monotonic() - started, 1)
            result = {"settings": wanted, "seconds": seconds, "figures": figures}
            (staging / _RESULT).write_text(json.dumps(result, indent=1, ensure_ascii=False))
            shutil.rmtree(folder, ignore_errors=True)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        print(f"{time.strftime('%H:%M:%S')} {name}: {seconds} s", file=sys.stderr, flush=True)
        return folder

    def result(self, name: str) -> dict[str, Any]:
        """What stage `name` left: `settings`, `seconds` and `figures`."""
        return self._read(self.work / name)

    def digest(self, name: str) -> str:
        """What stage `name` was made with and what it rests on, as a short text."""
        settings = json.dumps(self.result(name)["settings"], sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def _read(self, folder: Path) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        return result
