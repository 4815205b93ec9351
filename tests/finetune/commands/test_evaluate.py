from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.__main__ import main
from finetune.evaluation.transcripts import write_transcripts
from tests.finetune.conftest import MakePlace
from tests.finetune.evaluation.samples import row, transcript, write


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    file = tmp_path / "config.toml"
    file.write_text('[paths]\ndata = "data"\n', encoding="utf-8")
    return str(file)


def test_transcripts_are_scored_by_adapter(
    tmp_path: Path, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, html = tmp_path / "t.jsonl", tmp_path / "page.html"
    write_transcripts(
        file,
        [transcript("Hm.", "I'm Mirela."), transcript("Hm.", "Rum?", adapter="cured@2")],
    )
    arguments = ["--transcripts", str(file), "--config", config_file, "--html", str(html)]
    assert main(["evaluate", *arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["adapters"]) == ["base", "cured@2"]
    assert printed["adapters"]["base"]["IIR"] == {"value": 1.0, "low": 0.0, "high": 1.0, "n": 1}
    assert printed["adapters"]["cured@2"]["IIR"]["value"] == 0.0
    assert {"value", "low", "high", "n"} == set(printed["adapters"]["base"]["distinct-2"])
    assert "<mark>I&#39;m Mirela.</mark>" in html.read_text(encoding="utf-8")

    assert main(["evaluate", *arguments]) == 0
    assert "IIR ↓" in capsys.readouterr().out


def test_a_suite_is_played_measured_and_saved(
    make_place: MakePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make_place()
    suite = write(tmp_path / "suite.jsonl", row(user_turns=["Rum?", "Who are you?"]))
    talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    held_out = write(tmp_path / "held_out.jsonl", talk)
    saved = tmp_path / "saved.jsonl"
    text = place.file.read_text() + "\n[sampling]\nmax_new_tokens = 5\n[inference]\nthreads = 1\n"
    place.file.write_text(text, encoding="utf-8")
    arguments = ["--suite", str(suite), "--adapter", "base", "--held-out", str(held_out)]
    arguments += ["--save-transcripts", str(saved), "--json", "--config", str(place.file)]
    assert main(["evaluate", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)["adapters"]["base"]
    assert figures["mean_length"]["n"] == 2
    assert figures["perplexity"]["n"] == 1
    assert figures["perplexity"]["value"] > 1
    [row_saved] = [json.loads(line) for line in saved.read_text().splitlines()]
    assert len(row_saved["replies"]) == 2

    again = ["--transcripts", str(saved), "--json", "--config", str(place.file)]
    assert main(["evaluate", *again]) == 0
    rescored = json.loads(capsys.readouterr().out)["adapters"]["base"]
    assert rescored == {name: of for name, of in figures.items() if name != "perplexity"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--channel", "7"], "add --live"),
        (["--live", "--adapter", "base"], "--adapter does not go with --live"),
        (["--live"], "There is no database"),
        (["--suite", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--transcripts", "nowhere.jsonl", "--held_out", "x"], "play a suite"),
    ],
)
def test_a_mistake_is_one_sentence(
    config_file: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["evaluate", *arguments, "--config", config_file]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
