"""Killed or torn anywhere: the champion serves, nothing is half promoted, the next run ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from config import Config
from db.database import Database
from db.runs import Run
from finetune.retraining.run import Order, retrain
from finetune.retraining.runs_on_disk import workspaces
from finetune.retraining.stages import STAGES
from inference.adapters import AdapterError, AdapterRegistry, weights_hash
from tests.finetune.retraining.killing import in_child, steps_of
from tests.finetune.retraining.light import (
    NAME,
    Stand,
    publish_champion,
    retraining_config,
    write_shortly,
)

CHAMPION, CHALLENGER = f"{NAME}@1", f"{NAME}@2"
KILLS = 32  # in `make test`; `make test-slow` tries every step


@pytest.fixture(autouse=True)
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.retraining.reporting.write", write_shortly)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a log and a champion, to be copied; everything is loaded once, here."""
    folder = tmp_path_factory.mktemp("template")
    publish_champion(retraining_config(folder))
    warm = tmp_path_factory.mktemp("warm")
    config = copied(folder, warm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.retraining.reporting.write", write_shortly)
        assert finished(config).state == "promoted"
    return folder


def copied(template: Path, folder: Path) -> Config:
    for entry in template.iterdir():
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, folder / entry.name)
    return retraining_config(folder)


def finished(config: Config) -> Run:
    means = Stand().means()
    return retrain(config, Order(), say=lambda _: None, means=means, poll_seconds=60.0)


def rows(config: Config) -> list[Run]:
    async def read() -> list[Run]:
        async with await Database.open(config.database_file) as database:
            return await database.runs.newest(9)

    return asyncio.run(read())


def check_serving(config: Config) -> str:
    """What the name stands for is a whole adapter; returns which."""
    registry = AdapterRegistry(config.adapters_dir)
    info = registry.resolve(NAME)
    assert info is not None
    assert weights_hash(info.folder) == info.card.weights_hash
    return info.label


def check_end(config: Config, where: str) -> None:
    """After a kill at `where`, one more retraining ends well, and there is nothing twice."""
    run = finished(config)
    registry = AdapterRegistry(config.adapters_dir)
    promoted = [change for change in registry.history(NAME) if change.run]
    if run.state == "skipped":  # the killed one had come to its end, all but the row
        [killed] = [one for one in rows(config) if one.key != run.key]
        run = killed
    assert (run.state, run.challenger) == ("promoted", CHALLENGER), (where, run.reason)
    assert check_serving(config) == CHALLENGER, where
    assert [change.run for change in promoted] == [run.key], where
    assert registry.versions(NAME) == [1, 2], where
    assert [one.state for one in rows(config) if one.state == "running"] == [], where
    hidden = [entry.name for entry in (config.adapters_dir / NAME).glob(".staging*")]
    assert hidden == [], where
    left = [entry for workspace in workspaces(config.retraining_dir)
            for entry in workspace.folder.glob(".[!.]*")]  # fmt: skip
    assert left == [], where


def kill_and_check(template: Path, folder: Path, at: int, where: str) -> None:
    config = copied(template, folder)
    status = in_child(config, Stand(), at)
    assert os.WIFSIGNALED(status), where
    assert os.WTERMSIG(status) == signal.SIGKILL, where
    held = rows(config)
    assert len(held) <= 1
    run = held[0] if held else None
    committed = any(change.run for change in AdapterRegistry(config.adapters_dir).history(NAME))
    assert check_serving(config) == (CHALLENGER if committed else CHAMPION), where
    if run is not None and run.state != "running":
        assert (run.state, committed) == ("promoted", True), where
    check_end(config, where)
    shutil.rmtree(folder)


def boundaries(steps: list[str]) -> list[int]:
    """Numbers of the steps at which a stage becomes finished, and of the promotion itself."""
    marks = [f"/.{stage}" for stage in STAGES] + ["current.draft"]
    return [
        number
        for number, step in enumerate(steps, start=1)
        if step.split(" ")[1] in ("rename", "replace") and any(step.endswith(m) for m in marks)
    ]


def middles(steps: list[str]) -> list[int]:
    """The number of a step halfway through each stage."""
    entered = [steps.index(f"after the row says {stage} running") for stage in STAGES]
    ended = [next(n for n, step in enumerate(steps) if _completes(step, s)) for s in STAGES]
    return [(first + last) // 2 + 1 for first, last in zip(entered, ended, strict=True)]


def spread(count: int, steps: list[str]) -> list[int]:
    """`count` numbers of steps: all boundaries and middles, and others evenly between them."""
    chosen = {*boundaries(steps), *middles(steps)}
    others = [number for number in range(1, len(steps) + 1) if number not in chosen]
    missing = max(0, count - len(chosen))
    chosen |= {others[len(others) * n // missing] for n in range(missing)}
    return sorted(chosen)


def test_killed_at_every_stage_boundary_and_in_the_middle_of_stages(
    template: Path, tmp_path: Path
) -> None:
    steps = steps_of(copied(template, _folder(tmp_path / "whole")), Stand())
    assert len(boundaries(steps)) >= 2 * len(STAGES)  # before and after each
    numbers = spread(KILLS, steps)
    assert len(numbers) >= 30
    assert not {*middles(steps)} & {*boundaries(steps)}
    for at in numbers:
        kill_and_check(template, _folder(tmp_path / str(at)), at, f"{at}: {steps[at - 1]}")


@pytest.mark.slow
def test_killed_at_every_single_step(template: Path, tmp_path: Path) -> None:
    steps = steps_of(copied(template, _folder(tmp_path / "whole")), Stand())
    for at in range(1, len(steps) + 1):
        kill_and_check(template, _folder(tmp_path / str(at)), at, f"{at}: {steps[at - 1]}")


def test_killed_again_and_again(template: Path, tmp_path: Path) -> None:
    """One run, killed a little later each time it is taken up."""
    config = copied(template, tmp_path)
    stand = Stand()
    kills = 0
    for at in range(12, 200, 12):
        if not os.WIFSIGNALED(in_child(config, stand, at)):
            break
        kills += 1
        label = check_serving(config)
        assert label in (CHAMPION, CHALLENGER)
    assert kills >= 3
    check_end(config, "after many")


def _folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


# -- what a power cut leaves ---------------------------------------------------------------------


@pytest.fixture
def before_gate(template: Path, tmp_path: Path) -> Config:
    """A run that was killed when everything was played, and nothing judged."""
    config = copied(template, tmp_path)
    steps = steps_of(copied(template, _folder(tmp_path / "whole")), Stand())
    at = next(n for n, step in enumerate(steps, 1) if _completes(step, "gate"))
    in_child(config, Stand(), at)
    return config


def _completes(step: str, stage: str) -> bool:
    return step.startswith("before rename") and step.endswith(f"/.{stage}")


FILES = (
    "run.json",
    "prepare/result.json",
    "prepare/*/train.jsonl",
    "train/result.json",
    "evaluate/result.json",
    "evaluate/challenger-0.jsonl",
    "adapter_model.safetensors",
    "troupe.json",
    "current",
)
WAYS = ("cut", "nulls", "gone")
TORN = [  # each file in one way every day, in all ways now and then
    pytest.param(what, how, marks=() if (number + at) % 3 == 0 else (pytest.mark.slow,))
    for number, what in enumerate(FILES)
    for at, how in enumerate(WAYS)
]


@pytest.mark.parametrize(("what", "how"), TORN)
def test_a_torn_file_is_found_out(before_gate: Config, what: str, how: str) -> None:
    config = before_gate
    [workspace] = workspaces(config.retraining_dir)
    home = config.adapters_dir / NAME
    if what in ("adapter_model.safetensors", "troupe.json"):
        files = [home / "2" / what]
    elif what == "current":
        files = [home / what]
    else:
        files = list(workspace.folder.glob(what))
    [file] = files
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if how == "cut" else bytes(len(content)))
    assert _serving_or_none(config) in (CHAMPION, None)
    run = finished(config)
    assert run.state == "promoted"
    info = AdapterRegistry(config.adapters_dir).resolve(NAME)
    assert info is not None
    assert info.label == run.challenger
    assert weights_hash(info.folder) == info.card.weights_hash


def _serving_or_none(config: Config) -> str | None:
    try:
        return check_serving(config)
    except AdapterError:
        return None


def test_a_damaged_checkpoint_is_left_out(template: Path, tmp_path: Path) -> None:
    config = copied(template, tmp_path)
    stand = Stand(fails=SystemExit(143))
    with pytest.raises(SystemExit):
        retrain(config, Order(), say=lambda _: None, means=stand.means())
    [workspace] = workspaces(config.retraining_dir)
    checkpoints = workspace.folder / ".train" / "adapter" / "checkpoints" / "1-replies"
    torn = checkpoints / "checkpoint-3" / "optimizer.pt"
    torn.write_bytes(torn.read_bytes()[:5])
    (checkpoints / "checkpoint-2" / "training.json").unlink()  # not written to its end
    said: list[str] = []
    again = Stand()
    run = retrain(config, Order(), say=said.append, means=again.means())
    assert run.state == "promoted"
    assert again.resumed == [1]
    notes = run.settings["notes"]  # in the row, too
    assert "Checkpoint-3 is left out: its optimizer.pt is missing or damaged." in notes
    assert "Checkpoint-2 is left out: it was not written to its end." in notes
    assert any("which was broken off in the stage train" in sentence for sentence in notes)
    assert sum(sentence in said for sentence in notes) == 3


@pytest.mark.parametrize("name", ["write_run", "complete", "staging"])
def test_a_disk_that_is_full_from_some_step_on(template: Path, tmp_path: Path, name: str) -> None:
    """Wherever it begins: the champion serves, and with room again the next run ends."""
    config = copied(template, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    class Filling(Stand):
        def play(self, *arguments: Any) -> None:
            super().play(*arguments)
            patch.setattr(f"finetune.retraining.workspace.Workspace.{name}", full)

    with pytest.MonkeyPatch.context() as patch:
        run = retrain(config, Order(), say=lambda _: None, means=Filling().means())
    assert run.state == "failed"
    assert "is full; free some space" in run.reason
    assert check_serving(config) == CHAMPION
    again = finished(config)
    assert again.state == "promoted", again.reason
