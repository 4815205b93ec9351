from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import InputError
from finetune.evaluation.suite import SHIPPED, find_suite, read_suite, write_whole
from finetune.evaluation.transcripts import Reply, Transcript, read_transcripts, write_transcripts
from tests.finetune.evaluation.samples import row, script, transcript, write


def test_the_shipped_suites_can_be_read() -> None:
    ids = [{user.id for user in read_suite(find_suite(name))} for name in SHIPPED]
    assert all(len(of) >= 12 for of in ids)
    assert not ids[0] & ids[1]


def test_a_row_becomes_a_character() -> None:
    user = script()
    assert user.character.name == "Captain Mirela Vex"
    assert user.character.aliases == ("Mirela",)
    assert user.character.description.startswith("{{char}} sells")
    assert user.card.startswith("Captain Mirela Vex sells")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row()], "line 2: the id 'smuggler' is that of line 1"),
        ([row(), row(id="b", user_turns=[])], "line 2: user_turns is not usable"),
        ([{k: v for k, v in row().items() if k != "persona"}], "line 1: persona is missing"),
        ([row(user_turns=["a", 3])], "line 1: user_turns.1 is not usable"),
        ([row(name="A: B")], "line 1: 'A: B' cannot stand in a prompt"),
        ([row(aliases=["USER"])], "line 1: 'USER' cannot stand"),
        ([["a"]], "line 1 is no JSON object"),
        ([], "holds no row"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, rows: list[Any], said: str
) -> None:
    file = write(tmp_path / "suite.jsonl", *rows)
    with pytest.raises(InputError, match=said) as caught:
        read_suite(file)
    assert str(file) in str(caught.value)


def test_what_is_no_json_names_the_line(tmp_path: Path) -> None:
    file = write(tmp_path / "suite.jsonl", row())
    file.write_text(file.read_text() + "\n{oh", encoding="utf-8")
    with pytest.raises(InputError, match="line 3"):
        read_suite(file)
    with pytest.raises(InputError, match="missing"):
        read_suite(tmp_path / "missing.jsonl")


def test_transcripts_are_read_as_they_were_written(tmp_path: Path) -> None:
    replies = (Reply("Rum — 茶.", "stop"), Reply("", "error", "It broke."), Reply("So", "length"))
    played = [Transcript(script(), "pirate@3", replies), transcript("One.", adapter="base")]
    file = tmp_path / "deep" / "t.jsonl"
    write_transcripts(file, played)
    assert read_transcripts(file) == played
    assert [each.failed for each in played] == [1, 0]


def test_foreign_transcripts_need_only_replies(tmp_path: Path) -> None:
    file = write(tmp_path / "other.jsonl", row(replies=["Storms.", "Mirela.", "Gone."]))
    [read] = read_transcripts(file)
    assert read.adapter == "other"
    assert read_transcripts(file, "pirate")[0].adapter == "pirate"
    assert {reply.finish_reason for reply in read.replies} == {"unknown"}
    assert read.user_turns == row()["user_turns"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replies": ["one"]}, "1 replies but 3 user_turns"),
        (
            {"replies": ["a", "b", "c"], "finish_reasons": ["stop"]},
            "3 replies but 1 finish_reasons",
        ),
        ({"replies": ["a", "b", "c"], "finish_reasons": ["x"] * 3}, "finish_reasons.0"),
        ({}, "replies is missing"),
    ],
)
def test_replies_and_turns_pair(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = write(tmp_path / "t.jsonl", row(**changes))
    with pytest.raises(InputError, match=said):
        read_transcripts(file)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(target, "text")
    assert list(tmp_path.iterdir()) == [target]
