"""What is written is what is read, faults are named, and nothing half-written is left."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.dataset import Example, Turn
from finetune.errors import DiskFullError, InputError
from finetune.training_set import (
    Pair,
    TrainingSet,
    Unwanted,
    Vote,
    read_training_set,
    write_training_set,
)
from inference.types import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PROMPT = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT),
    max_size=3,
).map(tuple)
ASKED = st.builds(Turn, st.builds(Message, role=st.just("user"), content=TEXT))
REPLY = st.builds(
    Turn,
    st.builds(Message, role=st.just("assistant"), content=TEXT),
    st.booleans(),
    st.booleans(),
)
EXAMPLE = st.builds(Example, st.tuples(ASKED, REPLY), TEXT)
SETS = st.builds(
    TrainingSet,
    train=st.lists(EXAMPLE, max_size=3).map(tuple),
    validation=st.lists(EXAMPLE, max_size=2).map(tuple),
    pairs=st.lists(
        st.builds(Pair, PROMPT, TEXT, TEXT, st.sampled_from(["introduction", "regeneration"])),
        max_size=2,
    ).map(tuple),
    votes=st.lists(st.builds(Vote, PROMPT, TEXT, st.booleans()), max_size=2).map(tuple),
    unwanted=st.lists(
        st.builds(Unwanted, PROMPT, st.just("I am Vex."), st.just(((0, 9),))), max_size=2
    ).map(tuple),
    report=st.just({"steps": [], "replay": None}),
)
SMALL = TrainingSet(
    train=(
        Example((Turn(Message(role="user", content="Hi")),
                 Turn(Message(role="assistant", content="Ahoy."), taught=True)), "terminal:main"),
    )
)  # fmt: skip


@given(made=SETS)
def test_what_is_written_is_read(
    made: TrainingSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sets") / "set"
    write_training_set(made, folder)
    assert read_training_set(folder) == made
    write_training_set(SMALL, folder)  # replaced
    assert read_training_set(folder) == SMALL
    assert [entry.name for entry in folder.parent.iterdir()] == ["set"]


def test_what_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    [example] = read_training_set(tmp_path).train
    assert [turn.taught for turn in example.turns] == [False, True]
    assert all(turn.ended for turn in example.turns)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train.jsonl", '{"messages": []}', r"line 1: 'messages'"),
        ("train.jsonl", '\n{"messages": [{"role": "user"}]}', r"line 2: 'messages.0.content'"),
        ("train.jsonl", "{oops", "line 1, column 2 is not valid JSON"),
        ("train.jsonl", '{"messages": [{"role": "user", "content": "a", "taught": true}]}',
         "line 1 is not usable: only an assistant"),
        ("pairs.jsonl", '{"prompt": [], "chosen": "a", "rejected": "b", "kind": "x"}', "'kind'"),
        ("votes.jsonl", '{"prompt": [], "reply": "a", "liked": "yes"}', "'liked'"),
        ("unwanted.jsonl", '{"prompt": [], "reply": "abc", "spans": [[1, 9]]}',
         "outside the reply of 3 characters"),
        ("report.json", "[]", "must hold one object"),
    ],
)  # fmt: skip
def test_faults_are_named(tmp_path: Path, file: str, text: str, said: str) -> None:
    write_training_set(SMALL, tmp_path / "set")
    (tmp_path / "set" / file).write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_training_set(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something other than a training set"):
        write_training_set(SMALL, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match="There is no training set"):
        read_training_set(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no train\.jsonl"):
        read_training_set(tmp_path)


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    write_training_set(SMALL, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFullError, match="the disk is full; free some space"):
        write_training_set(SMALL, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with pytest.raises(InputError, match="disk is full"):
        write_training_set(SMALL, tmp_path / "other")
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]
