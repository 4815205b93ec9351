"""What a stage leaves is whole or not there, and what was done to it afterwards shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from db.runs import Run
from finetune.retraining.workspace import RESULT_FILE, Damaged, Workspace

RUN = Run(key="2026-11-21T03-00-00Z", adapter="default", settings={"seed": 1}, started_at=5.0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / RUN.key)


def test_a_run_is_read_as_it_was_written(workspace: Workspace) -> None:
    workspace.write_run(RUN)
    assert workspace.read_run() == RUN
    # What others write stands in the row only.
    workspace.write_run(dataclasses.replace(RUN, cancel_requested=True, announced_at=9.0))
    assert workspace.read_run() == RUN
    (workspace.folder / "run.json").write_text('{"key": ')
    with pytest.raises(Damaged, match=r"run\.json cannot be read"):
        workspace.read_run()


def test_a_stage_is_there_when_it_is_complete(workspace: Workspace) -> None:
    folder = workspace.staging("prepare")
    (folder / "set").mkdir()
    (folder / "set" / "train.jsonl").write_text("{}\n")
    assert workspace.result("prepare") is None
    workspace.complete("prepare", {"examples": 7, "ratio": 0.1})
    assert workspace.result("prepare") == {"examples": 7, "ratio": 0.1}
    assert not folder.exists()
    assert (workspace.place("prepare") / "set" / "train.jsonl").read_text() == "{}\n"


def test_a_stage_goes_on_with_what_a_killed_one_left_or_without(workspace: Workspace) -> None:
    (workspace.staging("train") / "half").write_text("x")
    assert (workspace.staging("train", fresh=False) / "half").is_file()
    assert list(workspace.staging("train").iterdir()) == []


def test_a_stage_may_be_done_again(workspace: Workspace) -> None:
    workspace.staging("gate")
    workspace.complete("gate", {"promote": False})
    workspace.staging("gate")
    workspace.complete("gate", {"promote": True})
    assert workspace.result("gate") == {"promote": True}


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 40, b"[1]", b'{"digest": "x"}'])
def test_a_torn_result_is_found_out(workspace: Workspace, content: bytes) -> None:
    workspace.staging("gate")
    workspace.complete("gate", {"promote": False})
    (workspace.place("gate") / RESULT_FILE).write_bytes(content)
    with pytest.raises(Damaged, match="result of the stage gate"):
        workspace.result("gate")


def test_a_changed_result_is_found_out(workspace: Workspace) -> None:
    workspace.staging("gate")
    workspace.complete("gate", {"promote": False})
    file = workspace.place("gate") / RESULT_FILE
    file.write_text(file.read_text().replace("false", "true"))
    with pytest.raises(Damaged, match="was changed"):
        workspace.result("gate")


@pytest.mark.parametrize("content", [b"other", b"", None])
def test_a_damaged_file_is_found_out_unless_it_is_loose(
    workspace: Workspace, content: bytes | None
) -> None:
    for name in ("kept", "loose"):
        (workspace.staging("snapshot", fresh=False) / name).write_text("as it was")
    workspace.complete("snapshot", {}, loose=["loose"])
    for name in ("loose", "kept"):
        assert workspace.result("snapshot") == {}
        file = workspace.place("snapshot") / name
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
    with pytest.raises(Damaged, match="snapshot/kept is missing or damaged"):
        workspace.result("snapshot")


def test_of_a_finished_run_only_what_is_asked_for_stays(workspace: Workspace) -> None:
    workspace.write_run(RUN)
    for stage in ("snapshot", "report"):
        workspace.staging(stage)
        workspace.complete(stage, {})
    workspace.staging("train")
    workspace.shrink(["report"])
    assert sorted(entry.name for entry in workspace.folder.iterdir()) == ["report", "run.json"]
