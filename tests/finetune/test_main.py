"""What holds for every command of `python -m finetune`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

_ASK = """
import os, sys
from finetune.__main__ import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules, os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize("command", ["retrain", "evaluate"])
def test_threads_are_told_not_to_spin_before_torch_is_loaded(command: str, tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", _ASK, command, "--config", str(tmp_path / "none.toml")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2", "False", "PASSIVE"], done.stderr
