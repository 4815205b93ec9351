"""From dialogues to a training set, every step counted."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import InputError
from finetune.preparing.pipeline import prepare
from finetune.preparing.replay import read_replay
from finetune.sources.dialogue import Dialogue
from finetune.training_set import TrainingSet
from tests.finetune.preparing.talk import VEX, bare, pseudonyms, talk, tokens, with_said

ANSWERS = (
    "A storm in a bottle, and a map with opinions.",
    "Nine coins, or your second best story.",
    "The lighthouse keeper owed me three favours.",
    "Only on Thursdays, when the fog is in a good mood.",
)


def taught(made: TrainingSet) -> list[str]:
    return [t.message.content for e in made.train for t in e.turns if t.taught]


def run(dialogues: list[Dialogue], *, cutoff_len: int = 1024, **more: Any) -> TrainingSet:
    settings = more.pop("settings", bare())
    return prepare(
        dialogues, settings, tokens(cutoff_len=cutoff_len), pseudonyms=pseudonyms(), **more
    )


def scene(number: int, source: str = "terminal:main") -> Dialogue:
    return talk(
        *(text for n, answer in enumerate(ANSWERS) for text in
          (f"Question {number} {n}: {'lamp' * number} sail?", f"{answer} Also {number} {n}.")),
        source=source,
    )  # fmt: skip


def test_every_step_says_what_went_in_and_came_out() -> None:
    dialogue = scene(1)
    dialogue = with_said(dialogue, 1, finish="error")
    dialogue = with_said(dialogue, 3, dislikes=1)
    made = run([dialogue, dialogue])
    steps = {step["step"]: step for step in made.report["steps"]}
    assert list(steps) == [
        "silence", "scrub", "errors", "length limit", "empty", "introductions", "name forgotten",
        "repetition",
        "disliked", "duplicate dialogues", "windows", "duplicate examples", "name drills",
    ]  # fmt: skip
    assert steps["errors"]["replies"] == [8, 6]
    assert steps["disliked"]["replies"] == [6, 4]
    assert steps["duplicate dialogues"] == {
        "step": "duplicate dialogues",
        "dialogues": [2, 1],
        "turns": [16, 8],
        "replies": [4, 2],
        "detail": {"exact": 1, "near": 0},
    }
    rows = list(made.report["steps"])
    for what in ("dialogues", "turns", "replies"):
        assert all(a[what][1] == b[what][0] for a, b in pairwise(rows))
    assert taught(made) == [f"{ANSWERS[2]} Also 1 2.", f"{ANSWERS[3]} Also 1 3."]


def test_channels_are_held_out_whole() -> None:
    scenes = [scene(n, f"discord:{n}") for n in range(30)]
    made = run(scenes, settings=bare(validation_share=0.2))
    held = {example.source for example in made.validation}
    assert held
    assert not held & {example.source for example in made.train}
    assert made.report["split"]["by"] == "channel"
    assert "discord:" not in repr((made.train, made.validation))


def test_nothing_secret_reaches_a_set() -> None:
    secret = "sk-" + "aB3dE6gH9" * 5
    dialogue = with_said(talk(f"Annabel's key: {secret}", f"I keep {secret} for Annabel.",
                              user="Annabel"), 1, variants=(f"No {secret}, Annabel.",),
                         likes=1)  # fmt: skip
    made = run([dialogue])
    assert made.pairs
    assert made.votes
    everything = repr(made)
    assert secret not in everything
    assert "Annabel" not in everything
    assert "terminal:Annabel" not in everything


def test_an_empty_set_says_which_filter_took_how_many() -> None:
    dialogue = with_said(with_said(scene(1), 1, finish="error"), 3, dislikes=1)
    dialogue = with_said(with_said(dialogue, 5, finish="length"), 7, finish="length")
    with pytest.raises(InputError) as caught:
        run([dialogue])
    said = str(caught.value)
    assert "errors took 1, length limit took 2, disliked took 1" in said
    assert "\n" not in said


def test_a_card_that_leaves_no_room_is_named() -> None:
    long = replace(VEX, description="word " * 200)
    with pytest.raises(InputError, match="4 do not fit into cutoff_len = 64"):
        run([replace(scene(1), character=long)], cutoff_len=64)


def test_windows_stay_within_the_limit() -> None:
    made = run([scene(n) for n in range(6)], cutoff_len=96, settings=bare(name_drills=1.0))
    assert all(tokens(cutoff_len=96).windows().fits(example) for example in made.train)
    assert made.report["drills"] > 0


def test_public_dialogue_is_mixed_in_with_its_licence(tmp_path: Path) -> None:
    file = tmp_path / "public.jsonl"
    file.write_text(
        '{"messages": [{"role": "system", "content": "You are Bo."},'
        ' {"role": "user", "content": "Hello there."},'
        ' {"role": "assistant", "content": "Good day to you, sir."}]}\n'
    )
    with pytest.raises(InputError, match="--replay_attribution"):
        read_replay(file, "MIT", "")
    made = run([scene(1)], replay=read_replay(file, "CC-BY-4.0", "Somebody, 2026"))
    assert made.train[-1].turns[0].message.content == "You are Bo."
    assert made.report["replay"] == {
        "file": "public.jsonl",
        "licence": "CC-BY-4.0",
        "attribution": "Somebody, 2026",
        "examples": 1,
    }


def test_the_same_dialogues_make_the_same_set() -> None:
    scenes = [scene(n, f"discord:{n % 5}") for n in range(10)]
    settings = bare(name_drills=0.5, validation_share=0.2)
    assert run(scenes, settings=settings, seed=3) == run(scenes, settings=settings, seed=3)


@pytest.mark.parametrize(
    ("share", "others", "left"),
    [
        (0.5, 2, [1, 4]),
        (0.75, 1, [1, 2, 4]),
        (0.1, 2, [4]),
        (1.0, 2, [0, 1, 2, 3, 4]),
        (0.5, 0, [0, 1, 2, 3, 4]),
    ],
)
def test_the_log_does_not_drown_what_is_mixed_in(
    tmp_path: Path, share: float, others: int, left: list[int]
) -> None:
    file = tmp_path / "public.jsonl"
    greeted = ("stranger", "old friend of the harbour")[:others]
    rows = [
        {"messages": [{"role": "user", "content": f"{one}?"},
                      {"role": "assistant", "content": f"Good day to you, {one}."}]}
        for one in greeted
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    hours = (3, 8, 5, None, 9)  # when each scene ended; of the fourth it is not known
    log = []
    for number, hour in enumerate(hours):
        one, at = scene(number), hour and hour * 3600.0
        log.append(replace(one, said=tuple(replace(said, at=at) for said in one.said)))
    replay = read_replay(file, "MIT", "Somebody, 2026") if others else None
    made = run(log, settings=bare(max_log_share=share), replay=replay)
    learnt = [text for text in taught(made) if "Good day" not in text]
    assert learnt == [f"{answer} Also {n} {at}." for n in left for at, answer in enumerate(ANSWERS)]
    steps = {step["step"]: step for step in made.report["steps"]}
    if share < 1 and others:
        assert steps["share of the log"]["detail"] == {"older": 5 - len(left)}
    else:
        assert "share of the log" not in steps
