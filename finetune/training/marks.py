"""What tells a whole checkpoint from one that was not written to its end, or was damaged since."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MARK = "training.json"  # written last


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a checkpoint by its name, each on the disk when this returns."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.lstrip(".") != MARK:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
                found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
