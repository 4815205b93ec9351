"""What comes of a run, with real stages and a training that takes no time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from config import Config
from finetune.errors import InputError, TrainingError
from finetune.retraining.locking import only_one
from finetune.retraining.means import Lesson
from inference.adapters import AdapterRegistry
from inference.canary import read_canary, write_canary
from inference.types import InferenceError
from tests.finetune.retraining.light import (
    NAME,
    Stand,
    publish_champion,
    retraining_config,
    say_more,
)
from tests.finetune.retraining.running import (
    CHALLENGER,
    CHAMPION,
    go,
    in_database,
    row,
    serving,
)

pytestmark = pytest.mark.usefixtures("quick_report")

# -- what comes of a run --------------------------------------------------------------------------


@pytest.mark.usefixtures("whole_report")
def test_a_better_challenger_is_promoted(config: Config) -> None:
    stand = Stand()
    run = go(config, stand)
    assert (run.state, run.champion, run.challenger) == ("promoted", CHAMPION, CHALLENGER), run
    assert serving(config) == CHALLENGER
    [promotion, *_] = AdapterRegistry(config.adapters_dir).history(NAME)
    assert (promotion.run, promotion.by) == (run.key, "retraining")
    stored = row(config, run.key)
    assert stored == run
    assert run.reason.startswith(f"{CHALLENGER} is better than {CHAMPION}")
    assert run.verdict["promote"]
    assert run.data_hash
    assert list(run.stage_times) == [
        *("snapshot", "prepare", "train", "evaluate", "gate", "promote", "report"),
    ]
    assert all(seconds >= 0 for seconds in run.stage_times.values())
    assert run.figures["champion"]["IIR"]["value"] == 1.0
    assert run.figures["challenger"]["IIR"]["value"] == 0.0
    assert all("recent_perplexity" in measured for measured in run.figures.values())
    assert [lesson.start_from for lesson in stand.trained] == [None]  # from the base
    assert run.report is not None
    assert {"index.html", "summary.md", "iir_by_turn.png"} <= {
        file.name for file in Path(run.report).iterdir()
    }
    # Both were asked the same, with the same seeds.
    seeds: dict[str, list[int]] = {one.adapter: [] for one in stand.played}
    for one in stand.played:
        seeds[one.adapter].append(one.seed)
    assert seeds[CHAMPION] == seeds[CHALLENGER]


def test_what_people_said_does_not_outlive_the_run(config: Config) -> None:
    run = go(config)
    kept = [
        file
        for file in (config.retraining_dir / run.key).rglob("*")
        if file.is_file() and b"brass moon" in file.read_bytes()
    ]
    assert kept == []


@pytest.mark.parametrize("talk", ["same", "mute"])
def test_a_challenger_that_is_not_better_is_kept_and_not_promoted(
    config: Config, talk: str
) -> None:
    run = go(config, Stand(talk=talk))
    assert (run.state, run.challenger) == ("rejected", CHALLENGER)
    assert serving(config) == CHAMPION
    assert AdapterRegistry(config.adapters_dir).versions(NAME) == [1, 2]
    assert run.report is not None
    assert Path(run.report, "index.html").is_file()
    assert run.reason == run.verdict["reason"]


def test_with_nothing_new_nothing_is_trained(config: Config) -> None:
    assert go(config).state == "promoted"
    stand = Stand()
    run = go(config, stand)
    assert (run.state, stand.trained) == ("skipped", [])
    assert "Only 0 replies are new since the last training, and 10 are needed" in run.reason
    assert row(config, run.key) == run
    assert go(config, Stand(talk="same"), force=True).state == "rejected"
    say_more(config)
    again = go(config, stand)
    assert again.state != "skipped"
    assert again.settings["new_replies"] == 20


def test_a_log_that_nobody_agreed_to_is_skipped(tmp_path: Path) -> None:
    config = retraining_config(tmp_path)
    in_database(
        config, lambda database: database.consent.set_server("terminal:main", False, by="terminal")
    )
    in_database(
        config, lambda database: database.consent.set_server("terminal:other", False, by="terminal")
    )
    run = go(config)
    assert run.state == "skipped"
    assert "has agreed to be learnt from" in run.reason


def test_the_first_version_of_a_name_is_compared_with_the_base(tmp_path: Path) -> None:
    config = retraining_config(tmp_path)
    run = go(config, Stand(talk="mute"))
    assert (run.state, run.champion) == ("rejected", "base")
    registry = AdapterRegistry(config.adapters_dir)
    assert registry.promoted(NAME) is None  # a rejected first version serves nobody
    assert go(config, force=True).state == "promoted"
    assert serving(config) == CHALLENGER


def test_a_trial_first(tmp_path: Path) -> None:
    config = retraining_config(tmp_path, canary={"share": 0.25, "days": 2.0})
    publish_champion(config)
    before = time.time()
    run = go(config)
    assert run.state == "canary"
    assert serving(config) == CHAMPION
    canary = AdapterRegistry(config.adapters_dir).canary(NAME)
    assert canary is not None
    assert (canary.version, canary.share, canary.run) == (2, 0.25, run.key)
    assert before + 2 * 86_400 <= canary.until <= time.time() + 2 * 86_400
    say_more(config)
    waiting = go(config)
    assert waiting.state == "skipped"
    assert f"{CHALLENGER} is still on trial" in waiting.reason


def test_a_trial_that_is_over_is_decided_without_the_service(tmp_path: Path) -> None:
    """Else, under plain cron, every further run would be skipped for it."""
    config = retraining_config(tmp_path, canary={"share": 0.25, "days": 2.0})
    publish_champion(config)
    first = go(config)
    home = config.adapters_dir / NAME
    canary = read_canary(home)
    assert canary is not None
    long_ago = {"since": time.time() - 9 * 86_400, "until": time.time() - 7 * 86_400}
    write_canary(home, canary.model_copy(update=long_ago))
    say_more(config)
    second = go(config)
    assert (second.state, second.challenger) == ("canary", f"{NAME}@3")
    ended = row(config, first.key)
    assert ended is not None
    assert ended.state == "rejected"
    assert "only 0 replies could be judged" in ended.reason
    assert serving(config) == CHAMPION


def test_a_champion_that_changed_meanwhile_is_not_pushed_out(config: Config) -> None:
    class Meddling(Stand):
        def train(self, config: Config, settings: Any, lesson: Lesson) -> None:
            super().train(config, settings, lesson)
            publish_champion(config)  # version 2, promoted by hand

    run = go(config, Meddling())
    assert run.state == "rejected"
    assert run.reason.startswith(f"{NAME} stands for {NAME}@2 by now")
    assert serving(config) == f"{NAME}@2"


def test_continuing_from_the_champion_learns_what_is_new_since_it(tmp_path: Path) -> None:
    config = retraining_config(tmp_path, retrain={"start_from": "champion"})
    publish_champion(config)
    stand = Stand()
    first = go(config, stand)
    say_more(config)
    second = go(config, stand)
    assert [lesson.start_from for lesson in stand.trained] == [CHAMPION, CHALLENGER]
    assert second.settings["learn_since"] == first.settings["newest_at"]
    # Without the drills, whose answers are few.
    before, after = ({r for r in _replies(t) if "brass moon" in r} for t in stand.taught)
    assert before
    assert after
    assert before.isdisjoint(after)


def _replies(jsonl: str) -> set[str]:
    """All that a training set teaches to say."""
    rows = map(json.loads, jsonl.splitlines())
    return {m["content"] for row in rows for m in row["messages"] if m["taught"]}


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("The training ran out of memory; lower cutoff_len."), "ran out of memory"),
        (InferenceError("The worker is gone."), "The worker is gone."),
        (MemoryError(), "The memory ran out in the stage train"),
        (RuntimeError("CUDA out of memory."), "The memory ran out in the stage train"),
        (OSError(28, "No space left on device"), "is full; free some space"),
    ],
)
def test_a_failure_is_one_sentence_and_changes_nothing(
    config: Config, error: Exception, said: str
) -> None:
    run = go(config, Stand(fails=error))
    assert run.state == "failed"
    assert said in run.reason
    assert row(config, run.key) == run
    assert serving(config) == CHAMPION
    assert go(config).state == "promoted"  # the next begins clean


def test_an_error_nobody_foresaw_is_recorded_and_shown(config: Config) -> None:
    with pytest.raises(ZeroDivisionError):
        go(config, Stand(fails=ZeroDivisionError("by nought")))
    [run] = in_database(config, lambda database: database.runs.newest(1))
    assert run.state == "failed"
    assert run.reason == "The stage train broke with ZeroDivisionError: by nought"


@pytest.mark.parametrize(("talk", "state"), [("plain", "promoted"), ("same", "rejected")])
def test_a_report_that_cannot_be_written_takes_nothing_back(
    config: Config, monkeypatch: pytest.MonkeyPatch, talk: str, state: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finetune.retraining.reporting.write", full)
    run = go(config, Stand(talk=talk))
    assert run.state == state
    assert "The report could not be written" in run.settings["notes"][-1]
    assert serving(config) == (CHALLENGER if state == "promoted" else CHAMPION)


def test_wrong_input_begins_no_run(config: Config) -> None:
    wrong = config.model_copy(
        update={"retrain": config.retrain.model_copy(update={"suite": "nowhere.jsonl"})}
    )
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        go(wrong)
    with pytest.raises(InferenceError, match="cannot be an adapter's name"):
        go(config, adapter="No Name")
    assert in_database(config, lambda database: database.runs.newest(9)) == []
    assert [entry.name for entry in config.retraining_dir.iterdir()] == ["lock"]


def test_what_keeps_a_scheduled_run_from_its_beginning_is_told_in_a_row(config: Config) -> None:
    """At night nobody reads what it says."""
    wrong = config.model_copy(
        update={"retrain": config.retrain.model_copy(update={"suite": "nowhere.jsonl"})}
    )
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        go(wrong, trigger="schedule")
    [run] = in_database(config, lambda database: database.runs.unannounced())
    assert run.state == "failed"
    assert run.reason.startswith("It did not begin: ")
    assert "nowhere.jsonl" in run.reason
    assert go(config, trigger="schedule").state == "promoted"


def test_without_a_database_none_is_made(tmp_path: Path) -> None:
    config = retraining_config(tmp_path)
    config.database_file.unlink()
    with pytest.raises(InputError, match="no database"):
        go(config)
    assert not config.database_file.exists()


def test_two_at_once(config: Config) -> None:
    with only_one(config.retraining_dir), pytest.raises(InputError, match="Another retraining"):
        go(config)
    assert go(config).state == "promoted"
