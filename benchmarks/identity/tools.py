"""The project's own commands, run as a user would, with their figures read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from inference.types import InferenceError

REPOSITORY = Path(__file__).parents[2]


def finetune(command: str, *arguments: object, config: Path, threads: int) -> dict[str, Any]:
    """`python -m finetune COMMAND --json …`; raises `InferenceError` with its last words."""
    done = subprocess.run(
        [sys.executable, "-m", "finetune", command, "--config", str(config), "--json"]
        + [str(argument) for argument in arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InferenceError(f"finetune {command} ended with {done.returncode}; see above.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
