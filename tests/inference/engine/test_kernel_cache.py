"""What is compiled once is there at the next start, whatever became of the files meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from numba import njit, types

from inference.engine.kernel_cache import kept

Start = Callable[[], Any]


def _double(x: Any) -> Any:
    return 2 * x


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "kernels.py"
    file.write_text("first", encoding="utf-8")
    return file


@pytest.fixture
def start(source: Path) -> Start:
    """What a worker does as it starts; gives `_double`, compiled."""

    def compile_all(keep: bool) -> list[Any]:
        return [njit([types.int64(types.int64)], cache=keep)(_double)]

    def run() -> Any:
        [found] = kept(compile_all, source, "int64")
        assert found(21) == 42
        return found

    return run


def was_loaded(found: Any) -> bool:
    return bool(found.stats.cache_hits)


def folders(source: Path) -> list[Path]:
    return sorted((source.parent / "__pycache__").iterdir())


def test_the_second_start_loads_what_the_first_compiled(start: Start, source: Path) -> None:
    assert not was_loaded(start())
    [folder] = folders(source)
    written = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert was_loaded(start())
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == written
    assert not numba.config.CACHE_DIR


@pytest.mark.parametrize("left", [b"", b"\x80\x04no pickle"])
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_files_are_made_anew(
    start: Start, source: Path, left: bytes, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    for file in folders(source)[0].rglob(f"*.{ending}"):
        file.write_bytes(left)
    assert not was_loaded(start())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert was_loaded(start())


def test_where_nothing_can_be_kept_it_is_compiled_at_every_start(
    start: Start, source: Path
) -> None:
    (source.parent / "__pycache__").write_text("in the way", encoding="utf-8")
    assert not was_loaded(start())
    assert not was_loaded(start())


def test_what_was_made_of_an_older_source_goes(start: Start, source: Path) -> None:
    start()
    before = folders(source)
    source.write_text("second", encoding="utf-8")
    assert not was_loaded(start())
    assert len(folders(source)) == 1
    assert folders(source) != before


def test_what_a_killed_process_left_goes_after_a_while(start: Start, source: Path) -> None:
    cache = source.parent / "__pycache__"
    for name, age in (("old", 7200), ("new", 0)):
        folder = cache / f".kernels-int64-{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (folder.stat().st_mtime - age,) * 2)
    start()
    names = [folder.name for folder in folders(source)]
    assert names[0] == ".kernels-int64-new"
    assert len(names) == 2


def test_several_processes_at_once(start: Start, source: Path) -> None:
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            os._exit(start()(1) != 2)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(folders(source)) == 1
    assert was_loaded(start())
