"""A tiny model for quick trainings, and the adapter that the real model learnt from a log."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import Config, ModelSettings
from db.database import Database
from finetune.__main__ import main
from inference.model_loading import LoadedModel
from tests.conftest import REPOSITORY, config_in, save_tiny_llama
from tests.finetune.brass_moon import log_turns


@dataclass(frozen=True)
class Place:
    """A configuration file, and what it says."""

    file: Path
    config: Config

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "finetune", "train"),
            *("--config", str(self.file)),
            *arguments,
        ]

    def train(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in this process, which has torch loaded already."""
        said, complained = io.StringIO(), io.StringIO()
        terminated = signal.getsignal(signal.SIGTERM)
        command = ["train", "--config", str(self.file), *arguments]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
                code: Any = main(command)
        except SystemExit as ended:  # as argparse refuses
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, terminated)
        return subprocess.CompletedProcess(command, code, said.getvalue(), complained.getvalue())

    def train_apart(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command as a user runs it, in a process of its own."""
        return subprocess.run(
            self.command(*arguments),
            cwd=REPOSITORY,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def log(self, **options: Any) -> None:
        """Log the twenty turns in this place's database."""
        asyncio.run(_log(self.config, options))


MakePlace = Callable[..., Place]


def environment() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "2", **os.environ}


async def _log(config: Config, options: dict[str, Any]) -> None:
    async with await Database.open(config.database_file) as database:
        await log_turns(database, **options)


def place_in(folder: Path, model: ModelSettings) -> Place:
    config = config_in(folder / "data", model=model)
    file = folder / "config.toml"
    lines = ("[paths]", 'data = "data"', "[model]", 'device = "cpu"', f'base = "{model.base}"')
    file.write_text("\n".join(lines), encoding="utf-8")
    return Place(file, config)


@pytest.fixture(scope="session")
def tiny_folder(embedded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is trained in seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder, embedded)
    return folder


@pytest.fixture
def make_place(tmp_path: Path, tiny_folder: Path) -> MakePlace:
    """`make_place(base=...)`: a data folder and its configuration; the tiny model by default."""
    return lambda base="": place_in(
        tmp_path, ModelSettings(base=base or str(tiny_folder), device="cpu")
    )


# A short card, so that the real model trains on it in half the time.
VEX = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Captain Vex",
        "description": "{{char}} is a merchant who sells odd cargo from a ship, the Saltlight.",
        "first_mes": "Welcome aboard, friend! What will it be?",
    },
}


@pytest.fixture(scope="session")
def brass_moon(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, Any]]:
    """Where the embedded model was trained on the twenty logged turns, and what that printed."""
    place = place_in(tmp_path_factory.mktemp("brass_moon"), ModelSettings(device="cpu"))
    personas = place.file.parent / "personas"
    personas.mkdir()
    (personas / "vex.json").write_text(json.dumps(VEX), encoding="utf-8")
    place.log(persona="vex", persona_name="Captain Vex")
    done = place.train_apart("--channel", "terminal:main", "--json", "--note", "twenty turns")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return place, printed
