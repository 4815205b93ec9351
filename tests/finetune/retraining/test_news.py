"""What counts as new, and what is mixed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import RetrainSettings
from finetune.errors import InputError
from finetune.retraining.news import newest_at, news, replays
from finetune.sources.dialogue import NOBODY, Dialogue, Said
from persona_prompts.prompt import Line


def dialogue(*times: float | None) -> Dialogue:
    """A reply at each of the times, each to a question a second before."""
    said = []
    for at in times:
        asked = None if at is None else at - 1
        said.append(Said(Line("Ann", "Well?", own=False), at=asked))
        said.append(Said(Line("Bot", "Well.", own=True), teachable=True, at=at))
    return Dialogue(NOBODY, False, tuple(said))


def test_only_replies_after_the_last_training_are_new() -> None:
    log = [dialogue(10.0, 20.0), dialogue(30.0)]
    assert newest_at(log) == 30.0
    assert news(log, None, 30.0) == 3
    assert news(log, 20.0, 30.0) == 1
    assert news(log, 30.0, 30.0) == 0


def test_a_log_older_than_the_last_training_was_put_back_and_is_new() -> None:
    log = [dialogue(10.0, 20.0)]
    assert news(log, 25.0, newest_at(log)) == 2


def test_replies_without_a_time_count_every_time() -> None:
    log = [dialogue(None, 10.0)]
    assert news(log, 10.0, newest_at(log)) == 1
    assert newest_at([dialogue(None)]) is None
    assert news([], 10.0, None) == 0


def test_own_dialogues_and_further_ones_are_mixed_in(tmp_path: Path) -> None:
    assert replays(RetrainSettings(own_replay=False)) is None
    own = replays(RetrainSettings())
    assert own is not None
    assert own.file == "cast.jsonl, strangers.jsonl"
    file = tmp_path / "more.jsonl"
    file.write_text(
        '{"messages": [{"role": "user", "content": "Hello?"},'
        ' {"role": "assistant", "content": "Good evening."}]}\n'
    )
    settings = RetrainSettings(
        replay=str(file), replay_licence="CC0", replay_attribution="nobody's"
    )
    both = replays(settings)
    assert both is not None
    assert len(both.dialogues) == len(own.dialogues) + 1
    assert (both.licence, both.attribution) == (
        "Apache-2.0; CC0",
        "written for Troupe; nobody's",
    )


@pytest.mark.parametrize("missing", ["replay_licence", "replay_attribution"])
def test_whose_they_are_must_be_said(tmp_path: Path, missing: str) -> None:
    given = {"replay_licence": "CC0", "replay_attribution": "nobody's", missing: " "}
    settings = RetrainSettings(replay=str(tmp_path / "more.jsonl"), **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"retrain.{missing}"):
        replays(settings)
