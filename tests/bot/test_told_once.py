"""What people are told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.told_once import FILE, ToldOnce


def test_a_key_is_first_once_also_after_a_restart(tmp_path: Path) -> None:
    told = ToldOnce(tmp_path)
    assert told.first("a")
    assert not told.first("a")
    assert told.first("b")
    assert not ToldOnce(tmp_path).first("a")
    assert ToldOnce(tmp_path).first("c")


@pytest.mark.parametrize("stored", ["", "{", "[1, null]", '{"a": 1}'])
def test_a_broken_file_tells_again_and_is_mended(tmp_path: Path, stored: str) -> None:
    (tmp_path / FILE).write_text(stored, encoding="utf-8")
    assert ToldOnce(tmp_path).first("b")
    assert not ToldOnce(tmp_path).first("b")


def test_a_folder_that_takes_no_file_is_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = ToldOnce(tmp_path / "missing")
    assert told.first("a")
    assert not told.first("a")
    assert "cannot be written" in caplog.text
