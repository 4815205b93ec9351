"""Rows of large and broken files."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import InputError
from finetune.sources import json_files
from finetune.sources.json_files import json_lines, json_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(rows=st.lists(VALUES, max_size=6), indent=st.sampled_from([None, 1]))
def test_a_list_is_read_as_json_reads_it(
    rows: list[Any], indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.json"
    file.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), "utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_CHUNK", 7)
        if any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(rows, ensure_ascii=False)):
            with pytest.raises(InputError, match="not UTF-8"):
                list(json_rows(file))
        else:
            assert [value for _, value in json_rows(file)] == rows


def test_a_large_list_is_not_held_in_memory(tmp_path: Path) -> None:
    row = {"instruction": "Say it.", "output": "word " * 2000}
    file = tmp_path / "rows.json"
    with file.open("w") as stream:
        stream.write("[" + ",\n".join(json.dumps(row) for _ in range(2000)) + "]")
    assert file.stat().st_size > 20_000_000
    tracemalloc.start()
    assert sum(1 for _ in json_rows(file)) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1},\n {"a": }]', "line 2"),
        ('[{"a": 1}\n {"a": 2}]', "line 2"),
        ('[{"a": 1},\n', "line 2"),
        ('[{"a": 1}] extra', "line 1"),
        ("[" + '{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_the_line_of_a_fault_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(InputError, match=said):
        list(json_rows(tmp_path / "rows.json"))


def test_a_fault_far_inside_is_found_without_reading_on(tmp_path: Path) -> None:
    rows = ["1"] * 50_000
    rows[20_000] = "nonsense"
    (tmp_path / "rows.json").write_text("[" + ",\n".join(rows) + "]")
    with pytest.raises(InputError, match="line 20001 is not valid JSON"):
        list(json_rows(tmp_path / "rows.json"))


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "MAX_ROW", 1000)
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 2000 + '"}\n')
    with pytest.raises(InputError, match="line 2 is longer than"):
        list(json_lines(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.json").write_text('[{"a": "' + "x" * 200_000 + '"}]')
    with pytest.raises(InputError, match="row 1 is longer than"):
        list(json_rows(tmp_path / "rows.json"))


def test_one_object_over_many_lines_is_one_row(tmp_path: Path) -> None:
    value = {"messages": [{"id": "1"}], "channel": {"id": "2"}}
    (tmp_path / "one.json").write_text(json.dumps(value, indent=2))
    assert list(json_rows(tmp_path / "one.json")) == [(1, value)]
    (tmp_path / "flat.json").write_text(json.dumps(value))
    assert list(json_rows(tmp_path / "flat.json")) == [(1, value)]
