"""Alpaca files, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.errors import InputError
from finetune.sources.alpaca import read_alpaca
from inference.model_loading import LoadedModel
from inference.prompt_format import PromptFormat

ROW = {"instruction": "Add.", "input": "2 and 2", "output": "4"}


def write(folder: Path, text: str, name: str = "rows.json") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_instruction_and_input_are_asked_and_the_output_is_taught(tmp_path: Path) -> None:
    [example] = read_alpaca(write(tmp_path, json.dumps([ROW])))
    asked, answered = example.turns
    assert (asked.message.role, asked.message.content) == ("user", "Add.\n\n2 and 2")
    assert (answered.message.role, answered.message.content) == ("assistant", "4")
    assert (asked.taught, answered.taught) == (False, True)


@pytest.mark.parametrize(
    ("prompt_format", "heading"),
    [("alpaca", "### Input:"), ("alpaca_short", "### Input:"), ("vigogne", "### Entrée:")],
)
def test_alpacas_own_formats_give_the_input_its_heading(
    embedded: LoadedModel, tmp_path: Path, prompt_format: str, heading: str
) -> None:
    file = write(tmp_path, json.dumps([ROW, {**ROW, "input": " "}]))
    with_input, without = read_alpaca(file, prompt_format)
    assert without == read_alpaca(file)[1]
    shown = PromptFormat(embedded.tokenizer, prompt_format)
    text = shown.render([with_input.turns[0].message])
    assert f"### Instruction:\nAdd.\n\n{heading}\n2 and 2\n\n### R" in text


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_one_row_a_line_is_read_too(tmp_path: Path, name: str) -> None:
    lines = [json.dumps(ROW), "", json.dumps({"instruction": "Hi\u2028there.", "output": "Ho."})]
    first, second = read_alpaca(write(tmp_path, "\n".join(lines), name))
    assert second.turns[0].message.content == "Hi\u2028there."
    assert first.turns[1].message.content == "4"


def test_a_row_without_an_answer_teaches_nothing(tmp_path: Path) -> None:
    assert read_alpaca(write(tmp_path, json.dumps([{**ROW, "output": " "}]))) == []


def test_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    text = '[{"instruction": "a", "output": "b\\ud800"}]'
    [example] = read_alpaca(write(tmp_path, text))
    assert example.turns[1].message.content == "b\ufffd"


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ('[{"instruction": "a",\n "output": }]', "rows.json", ["line 2", "not valid JSON"]),
        (f"{json.dumps(ROW)}\n{{oops", "rows.jsonl", ["line 2", "not valid JSON"]),
        (json.dumps([ROW, {"instruction": "a"}]), "rows.json", ["row 2", "no key 'output'"]),
        (json.dumps([{"output": "a"}]), "rows.json", ["row 1", "no key 'instruction'"]),
        (json.dumps([{**ROW, "output": 4}]), "rows.json", ["row 1", "'output' is a number"]),
        (json.dumps([{**ROW, "input": None}]), "rows.json", ["row 1", "'input' is null"]),
        (json.dumps([ROW, "text"]), "rows.json", ["row 2 is a text"]),
        ('"text"', "rows.json", ["holds a text", "list of rows"]),
        ("", "rows.json", ["line 1", "not valid JSON"]),
        ("[" * 100_000, "rows.json", ["line 1"]),
        (f"[{'9' * 5000}]", "rows.json", ["line 1", "a number of thousands of digits"]),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, name: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_alpaca(write(tmp_path, text, name))
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_alpaca(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        read_alpaca(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'["\xe9"]')
    with pytest.raises(InputError, match="not UTF-8"):
        read_alpaca(tmp_path / "latin.json")
