"""Refuses each hostile card in a process of its own; prints seconds and memory as JSON.

Run by test_hostile.py: `python -m tests.persona_prompts.cards.measure_refusals`. A process is
forked for each, with what an import needs already loaded, as the bot has it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import persona_prompts.cards.store as store
from persona_prompts.errors import CharacterError
from tests.persona_prompts.cards.hostile import HOSTILE, bomb

LIMIT = 2 << 30  # bytes of address space: who runs past it dies, and not the machine


def refuse(content: bytes, folder: Path) -> dict[str, object]:
    base = memory()
    begun = time.process_time()
    try:
        store.import_card(content, "guest.png", folder, id="guest")
    except CharacterError as error:
        said = str(error)
    else:
        said = ""
    seconds = time.process_time() - begun
    return {"said": said, "seconds": seconds, "mib": memory(), "before": base,
            "left": sorted(file.name for file in folder.iterdir())}  # fmt: skip


def memory() -> float:
    """The most memory that the process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    bomb()  # once, before the forks
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    for name, (make, _) in HOSTILE.items():
        with tempfile.TemporaryDirectory() as folder:
            content_file = Path(folder) / "content"
            if (maker := os.fork()) == 0:  # so that making it costs this process no memory
                content_file.write_bytes(make())
                os._exit(0)
            os.waitpid(maker, 0)
            target = Path(folder) / "personas"
            target.mkdir()
            if (child := os.fork()) == 0:
                found = refuse(content_file.read_bytes(), target)
                sys.stdout.write(json.dumps({"name": name, **found}) + "\n")
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
