"""What a killed experiment keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.identity.stages import Stages


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    done: list[str] = []

    def make(folder: Path) -> dict[str, Any]:
        (folder / "what.txt").write_text("made")
        done.append("once")
        return {"replies": len(done)}

    stages = Stages(tmp_path)
    stages.run("logs", make, seed=1)
    again = Stages(tmp_path).run("logs", make, seed=1)
    assert done == ["once"]
    assert (again / "what.txt").read_text() == "made"
    assert stages.result("logs")["figures"] == {"replies": 1}


def test_other_settings_make_it_anew_and_change_what_rests_on_it(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stages.run("logs", lambda folder: {"first": True}, seed=1)
    digest = stages.digest("logs")
    stages.run("logs", lambda folder: {"first": False}, seed=2)
    assert stages.result("logs")["figures"] == {"first": False}
    assert stages.digest("logs") != digest


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    stages = Stages(tmp_path)

    def fails(folder: Path) -> dict[str, Any]:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        stages.run("logs", fails)
    assert list(tmp_path.iterdir()) == []
