"""Peers that live in environments of their own: found, given the same work, and read back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_PEERS = Path(__file__).with_name("peers")
_SECONDS = 900.0


class PeerMissing(Exception):
    """A peer cannot be measured here; the message says why and how to install it."""


def check_peer(python: Path, module: str, requirement: str) -> None:
    """Raise `PeerMissing` unless `python` can import `module`."""
    how = (
        f"install it with: python3 -m venv {python.parent.parent} &&"
        f" {python.parent.parent}/bin/pip install {requirement}"
    )
    if not python.exists():
        raise PeerMissing(f"{python} does not exist; {how}")
    # find_spec does not run the module, which can take many seconds
    probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([str(python), "-c", probe], check=False).returncode:
        raise PeerMissing(f"{python} has no {module}; {how}")


def run_peer(python: Path, program: str, job: dict[str, Any], folder: Path) -> dict[str, float]:
    """What `peers/PROGRAM` prints for `job`.

    Raises `PeerMissing` with the end of its log if it fails.
    """
    file = folder / f"{Path(program).stem}.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    try:
        done = subprocess.run(
            [str(python), str(_PEERS / program), str(file)],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**os.environ, **job.get("environment", {})},
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{program} did not come to an end within {_SECONDS:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise PeerMissing(f"{program} failed: {last}")
    result: dict[str, float] = json.loads(lines[-1])
    return result
