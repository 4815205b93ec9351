from __future__ import annotations

import json
from pathlib import Path

import pytest

from persona_prompts.__main__ import main
from persona_prompts.cards.card import read_card

CORPUS = Path(__file__).with_name("cards")


@pytest.fixture
def personas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.toml").write_text('[paths]\npersonas = "own"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


def run(*arguments: str) -> int:
    return main([*arguments, "--config", "config.toml"])


def test_in_and_out_again(personas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = CORPUS / "v3-plain.png"
    assert run("import", str(source)) == 0
    assert (personas / "ursel.png").read_bytes() == source.read_bytes()
    assert run("export", "ursel") == 0
    assert Path("ursel.png").read_bytes() == source.read_bytes()
    assert run("export", "Ursel", "--format", "v2", "--json") == 0
    assert json.loads(Path("ursel.json").read_text())["spec"] == "chara_card_v2"
    assert "Ursel is now ursel" in capsys.readouterr().out


def test_the_shipped_cast_may_be_taken_along(personas: Path) -> None:
    assert run("export", "mirela", "--png", "--format", "v3", "--output", "m.png") == 0
    card = read_card(Path("m.png"))
    assert (card.spec, card.fields.name) == ("v3", "Captain Mirela Vex")
    assert run("import", "m.png", "--as", "my-mirela") == 0
    assert (personas / "my-mirela.png").is_file()


def test_warnings_are_told(personas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", str(CORPUS / "v3-newer-version.json")) == 0
    assert "newer version 3.4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "nowhere.png"], "nowhere.png cannot be read"),
        (["import", "config.toml"], "not valid JSON"),
        (["import", str(CORPUS / "v1-plain.png"), "--as", "../x"], "is no id"),
        (["import", str(CORPUS / "v1-plain.png"), "--as", "mirela"], "already is a character"),
        (["export", "nobody-at-all"], "There is no character"),
        (["export", "mirela", "--output", "config.toml"], "already is a file"),
    ],
)
def test_a_mistake_is_one_sentence(
    personas: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not personas.exists()


def test_an_import_may_replace(personas: Path) -> None:
    assert run("import", str(CORPUS / "v1-plain.png"), "--as", "mirela", "--replace") == 0
    assert (personas / "mirela.png").is_file()


def test_a_file_that_cannot_be_written_is_a_failure(personas: Path) -> None:
    assert run("export", "mirela", "--output", "no/folder/m.json") == 1


def test_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", "x", "--png", "--json"])
    assert caught.value.code == 2
