"""What was told to people once, and is not told again after a restart."""

from __future__ import annotations

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "discord_told"


class ToldOnce:
    """A set of keys in a file of `folder`; without the file, as after its loss, nothing is told."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            stored = []
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read, so people may be told again: %s", self._file, error)
            stored = []
        self._keys = {key for key in stored if isinstance(key, str)}

    def first(self, key: str) -> bool:
        """Whether `key` was never told; from now on it was."""
        if key in self._keys:
            return False
        self._keys.add(key)
        try:
            self._file.write_text(json.dumps(sorted(self._keys)), encoding="utf-8")
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error.strerror or error)
        return True
