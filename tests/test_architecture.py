"""The rooms and arrows of the design, read from the sources themselves."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MAY_IMPORT = {
    "config": set(),
    "db": {"config"},
    "persona_prompts": {"config"},
    "inference": {"config"},
    "finetune": {"config", "db", "persona_prompts", "inference"},
    "bot": {"config", "db", "persona_prompts", "inference"},
}
# Libraries that have their place in one or two rooms only.
AT_HOME = {
    "discord": {"bot"},
    "sqlite3": {"db"},
    "aiosqlite": {"db"},
    "torch": {"inference", "finetune"},
    "transformers": {"inference", "finetune"},
    "peft": {"inference", "finetune"},
    "trl": {"finetune"},
}
PART_OF = {"pydantic_core": "pydantic"}  # released, and pinned exactly, by the other
MOST_LINES = 400
SQL = re.compile(
    r"\b(SELECT\s[^;]+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|CREATE\s+(TABLE|INDEX|TRIGGER|VIEW)|ALTER\s+TABLE|PRAGMA)\s"
)


def files_of(room: str) -> list[Path]:
    if (single := REPOSITORY / f"{room}.py").is_file():
        return [single]
    return sorted((REPOSITORY / room).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Full names of the modules that `file` imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            assert node.module is not None
            yield node.module


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


def loaded_by(*modules: str) -> set[str]:
    """What a fresh process has in memory after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_one_way(room: str) -> None:
    others = (set(MAY_IMPORT) | {"tests", "benchmarks"}) - {room}
    for file in files_of(room):
        assert roots(file) & others <= MAY_IMPORT[room], file


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_libraries_stay_in_their_rooms(room: str) -> None:
    strangers = {library for library, homes in AT_HOME.items() if room not in homes}
    for file in files_of(room):
        assert not roots(file) & strangers, file


def test_the_process_of_the_bot_never_loads_the_model_s_libraries() -> None:
    loaded = loaded_by("bot.__main__", "bot.client", "bot.terminal", "inference.client")
    assert not loaded & {"torch", "transformers", "peft", "trl", "bitsandbytes"}


def test_the_turn_and_the_terminal_know_no_discord() -> None:
    loaded = loaded_by("bot.turn", "bot.commands", "bot.terminal")
    assert "discord" not in loaded


def test_sql_stands_only_in_db() -> None:
    for room in MAY_IMPORT.keys() - {"db"}:
        for file in files_of(room):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert not SQL.search(node.value), f"{file}:{node.lineno}"


@pytest.mark.parametrize("room", [*MAY_IMPORT, "benchmarks"])
def test_files_are_short_enough_to_be_read(room: str) -> None:
    for file in files_of(room):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, file


def test_every_library_that_is_imported_is_asked_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in extras.keys() - {"dev"} for line in extras[name]),
    ]
    asked = {_normal(re.split(r"[<>=!~ ;\[]", line)[0]) for line in lines}
    providers = importlib.metadata.packages_distributions()
    for room in MAY_IMPORT:
        for file in files_of(room):
            for root in roots(file) - sys.stdlib_module_names - MAY_IMPORT.keys():
                names = {_normal(name) for name in providers.get(PART_OF.get(root, root), [root])}
                assert names & asked, f"{file} imports {root}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
