"""Three nights: each is told what the bot of the night before said, and none is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import three_nights
from benchmarks.identity import conditions
from benchmarks.identity.conditions import Condition
from benchmarks.three_nights import Nights, markdown, plot
from config import Config, load
from db.database import Database
from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Reply, Transcript, write_transcripts
from finetune.retraining.news import replays
from inference.adapters import AdapterRegistry
from inference.model_loading import LoadedModel
from tests.benchmarks.identity.test_data import chats_file
from tests.conftest import MakeAdapter

USER = ScriptedUser(
    id="orla", name="Orla Fenn", persona="Orla mends nets.", user_turns=["Hello!", "How are you?"]
)


def said(adapter: str, text: str) -> list[Transcript]:
    return [Transcript(USER, adapter, (Reply(text, "stop"), Reply(text, "stop")))]


def figures(iir: float) -> dict[str, Any]:
    names = ("XTR4", "DupTurn", "Open3", "Recall", "perplexity", "distinct-2", "mean_length")
    found = {name: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9} for name in names}
    found["ends_by_itself"] = {"value": 1.0, "low": 1.0, "high": 1.0, "n": 9}
    return {"IIR": {"value": iir, "low": iir / 2, "high": iir * 2, "n": 9}, **found}


def night(number: int, state: str = "promoted") -> dict[str, Any]:
    return {
        "champion": f"company@{number}",
        "challenger": f"company@{number + 1}",
        "state": state,
        "reason": "IIR is better.",
        "figures": {"champion": figures(0.4), "challenger": figures(0.1)},
        "stage_times": {"snapshot": 0.1, "train": 120.0},
    }


async def told(file: Path) -> list[str]:
    async with await Database.open(file) as database:
        channels = sorted(await database.channels.all(), key=lambda channel: channel.key)
        return [(await database.messages.history(c, limit=9))[-1].content for c in channels]


def test_each_night_learns_from_what_the_last_one_said(
    embedded: LoadedModel,
    make_adapter: MakeAdapter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment, work = tmp_path / "experiment", tmp_path / "work"
    make_adapter(embedded, AdapterRegistry(experiment / "troupe" / "adapters"), "seed-bot")
    (experiment / "logs").mkdir()
    write_transcripts(experiment / "logs" / "transcripts.jsonl", said("seed-bot@1", "I am Orla."))
    trained: list[list[str]] = []
    talked: list[str] = []

    def retrain(command: str, *_: object, config: Path, threads: int) -> dict[str, Any]:
        trained.append(asyncio.run(told(load(config).database_file)))
        registry = AdapterRegistry(load(config).adapters_dir)
        if len(trained) == 1:
            make_adapter(embedded, registry, "company", seed=2)
            return night(1)
        return night(2, "rejected")

    def played(
        _: Config, condition: Condition, users: Sequence[ScriptedUser], *, seed: int
    ) -> list[Transcript]:
        talked.append(condition.adapter)
        return said(condition.adapter, "The nets are dry.")

    monkeypatch.setattr(three_nights, "finetune", retrain)
    monkeypatch.setattr(conditions, "played", played)

    found = Nights(work, experiment, seed=1, threads=1).run(2)

    assert [one["state"] for one in found] == ["promoted", "rejected"]
    assert trained == [["I am Orla."], ["I am Orla.", "The nets are dry."]]
    assert talked == ["company@2"]  # what the name stood for after the first night
    assert Nights(work, experiment, seed=1, threads=1).run(2) == found
    assert len(trained) == 2


def test_the_table_has_a_row_for_every_night() -> None:
    skipped = {**night(3, "skipped"), "figures": {}, "reason": "Only 3 replies are new."}
    lines = markdown([night(1), night(2, "rejected"), skipped]).splitlines()
    assert lines[2].startswith("| before: company@1 | .400 (.200–.800) |")
    assert lines[3].startswith("| night 1: company@2 | .100 (.050–.200) |")
    assert lines[4].endswith("| rejected: IIR is better. |")
    assert lines[5].endswith("| Only 3 replies are new. |")
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert lines[-1].startswith("Minutes: train 2.0; ")


def test_the_plot_is_a_picture_also_where_a_night_trained_nothing(tmp_path: Path) -> None:
    skipped = {**night(2, "skipped"), "figures": {}}
    plot([night(1), skipped, night(3, "rejected")], tmp_path / "nights.png")
    assert (tmp_path / "nights.png").read_bytes().startswith(b"\x89PNG")


def test_public_dialogue_is_mixed_in_and_its_origin_said(tmp_path: Path) -> None:
    work = tmp_path / "work"
    # five turns: too few to measure with, so all of it is learnt from
    talk = "\n".join(f"User {n % 2 + 1}: The tide is {n} feet up." for n in range(10))
    Nights(work, tmp_path, seed=1, threads=1, dialogues=chats_file(tmp_path, talk))
    retrain = load(work / "config.toml").retrain
    rows = Path(retrain.replay).read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1
    assert replays(retrain) is not None  # which refuses what nobody says the licence of
    assert retrain.replay_licence == "CC-BY-4.0"
