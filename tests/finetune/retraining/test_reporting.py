from __future__ import annotations

import json
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as some

from config import GateSettings
from db.runs import Run
from finetune.errors import DiskFullError
from finetune.evaluation.figures import Evaluation, evaluate
from finetune.evaluation.transcripts import Reply, Transcript
from finetune.retraining import reporting
from finetune.retraining.contenders import contender, differences
from finetune.retraining.excerpts import Excerpt, excerpts
from finetune.retraining.gate import Verdict, judge
from finetune.retraining.report_summary import LONGEST, excerpt_text, plain, summary
from tests.finetune.evaluation.report.test_page import EVIL, _read
from tests.finetune.evaluation.samples import script, transcript
from tests.finetune.retraining.contestants import healthy, introducing, played

RUN = Run(
    key="2026-11-21T03-00-00Z",
    adapter="default",
    started_at=1_795_230_000.0,
    stage_times={"prepare": 12.4, "train": 431.0},
    settings={"finetune": {"method": "sft"}},
    data_hash="ab12",
)


@cache
def contenders() -> tuple[Evaluation, Evaluation, Verdict]:
    champion, challenger = played("default@3", introducing), played("default@4", healthy)
    return champion, challenger, judged(champion, challenger)


def judged(champion: Evaluation, challenger: Evaluation) -> Verdict:
    return judge(
        contender(champion),
        contender(challenger),
        GateSettings(min_turns=70),
        differences(champion, challenger),
    )


def evil() -> tuple[Evaluation, Evaluation]:
    before = evaluate("a@1", [transcript("Hm.", f"I'm Mirela. {EVIL}", user_turns=["a", EVIL])])
    after = evaluate("a@2", [transcript("Hm.", f"{EVIL} @everyone **x**", user_turns=["a", EVIL])])
    return before, after


def test_a_report_is_whole_and_needs_no_other_file(tmp_path: Path) -> None:
    champion, challenger, verdict = contenders()
    folder = reporting.write(tmp_path / "report", RUN, verdict, champion, challenger)
    assert folder == tmp_path / "report"
    names = {reporting.PAGE, reporting.SUMMARY, reporting.PICTURE, reporting.FIGURES}
    assert {file.name for file in folder.iterdir()} == names | set(reporting.EXCERPTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]

    html = (folder / reporting.PAGE).read_text(encoding="utf-8")
    reader = _read(html)
    assert not {"link", "script", "img", "iframe", "object"} & set(reader.seen)
    assert not regex.search(r"https?:|@import|url\((?!['\"]?#)", html)
    assert verdict.reason in html
    assert html.count("✓") == len(verdict.checks)
    assert "prepare 12 s, train 431 s" in html
    assert "2026-11-21" in html

    known = json.loads((folder / reporting.FIGURES).read_text(encoding="utf-8"))
    assert known["verdict"] == verdict.as_json()
    assert known["run"]["key"] == RUN.key
    assert known["champion"]["figures"]["IIR"] == champion.figures["IIR"].as_json()
    assert len(known["excerpts"]) == 3
    assert known["challenger"]["iir_by_turn"]["1"]["value"] == 0

    picture = (folder / reporting.PICTURE).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (1200, 675)


def test_a_report_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    champion, challenger, verdict = contenders()
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "torn.md").write_text("half a")
    reporting.write(folder, RUN, verdict, champion, challenger)
    assert not (folder / "torn.md").exists()
    assert (folder / reporting.SUMMARY).exists()


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, challenger, verdict = contenders()
    folder = tmp_path / "report"
    reporting.write(folder, RUN, verdict, champion, challenger)
    before = (folder / reporting.SUMMARY).read_bytes()

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporting, "summary", full)
    with pytest.raises(DiskFullError, match=r"disk of .* is full"):
        reporting.write(folder, RUN, verdict, champion, challenger)
    assert (folder / reporting.SUMMARY).read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_everything_that_was_said_is_escaped(tmp_path: Path) -> None:
    before, after = evil()
    folder = reporting.write(tmp_path / "report", RUN, judged(before, after), before, after)
    html = (folder / reporting.PAGE).read_text(encoding="utf-8")
    assert "script" not in _read(html).seen
    said = (folder / reporting.EXCERPTS[0]).read_text(encoding="utf-8")
    assert r"\*\*x\*\*" in said
    assert "@everyone" not in said
    assert not (folder / reporting.EXCERPTS[1]).exists()  # there is only one that differs


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    champion = played("default@3", introducing)
    broken = played("default@4", healthy, perplexity=float("inf"))
    folder = reporting.write(tmp_path / "r", RUN, judged(champion, broken), champion, broken)
    known = json.loads((folder / reporting.FIGURES).read_text(encoding="utf-8"))
    assert known["challenger"]["figures"]["perplexity"]["value"] is None
    assert "perplexity" in (folder / reporting.SUMMARY).read_text(encoding="utf-8")


def test_a_contender_that_said_nothing_has_a_report_too(tmp_path: Path) -> None:
    mute = evaluate("default@4", [Transcript(script(), "default@4", (Reply("", "stop"),) * 3)])
    champion = contenders()[0]
    folder = reporting.write(tmp_path / "r", RUN, judged(champion, mute), champion, mute)
    assert "is rejected" in (folder / reporting.SUMMARY).read_text(encoding="utf-8")
    assert "Both said the same everywhere" in (folder / reporting.PAGE).read_text(encoding="utf-8")
    assert not (folder / reporting.EXCERPTS[0]).exists()


# -- the texts for a channel ---------------------------------------------------------------------


def test_the_summary_has_verdict_reason_and_table() -> None:
    champion, challenger, verdict = contenders()
    text = summary(RUN, verdict, champion, challenger)
    first, reason, *table = text.split("\n")
    assert first == "**default@4 passes the gate** (retraining 2026-11-21T03-00-00Z)"
    assert reason.startswith("default@4 is better than default@3 on IIR")
    [iir] = [line for line in table if line.startswith("IIR ↓")]
    assert iir.split()[2:] == [*(_value(each) for each in (champion, challenger)), "better"]
    assert "12 of 12 checks passed." in text
    assert max(map(len, table)) < 45  # a telephone's width


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("promoted", "default@4 is promoted"),
        ("canary", "default@4 is tried in some channels first"),
        ("rejected", "default@4 is rejected"),
    ],
)
def test_what_became_of_it_is_said_with_the_runs_own_reason(state: Any, said: str) -> None:
    """The gate may say yes and the run no: the champion changed meanwhile."""
    champion, challenger, verdict = contenders()
    run = replace(RUN, state=state, reason="default stands for default@9 by now.")
    text = summary(run, verdict, champion, challenger)
    assert text.startswith(f"**{said}**")
    assert text.split("\n")[1] == run.reason


def _value(evaluation: Evaluation) -> str:
    value = evaluation.figures["IIR"].value
    assert value is not None
    return f"{value:.3f}".removeprefix("0")


def test_the_summary_of_a_rejected_one_says_what_failed() -> None:
    champion, challenger, _ = contenders()
    verdict = judged(challenger, champion)
    text = summary(RUN, verdict, challenger, champion)
    assert "**default@3 is rejected**" in text
    assert "✗ better on one, worse on none" in text
    assert "worse" in text.split("```")[1]


_ODD = some.text(some.characters(codec="utf-8"), max_size=3000) | some.text(
    "*_`@\\\n", max_size=3000
)


@given(said=_ODD, reply=_ODD, name=_ODD, label=_ODD)
@settings(max_examples=60, deadline=None)
def test_no_text_is_too_long_for_a_message(said: str, reply: str, name: str, label: str) -> None:
    made = Excerpt("id", name, 3, said, reply, reply[::-1], "only the champion " * 40)
    text = excerpt_text(made, label, label)
    assert len(text) <= LONGEST
    assert "@everyone" not in text
    champion, challenger, verdict = contenders()
    long = Verdict(verdict.promote, reply, verdict.checks * 9, verdict.better, verdict.worse)
    assert len(summary(RUN, long, champion, challenger)) <= LONGEST


@given(some.text(some.sampled_from("*_`~|>[]\\a "), max_size=200), some.integers(1, 100))
@settings(max_examples=100, deadline=None)
def test_plain_text_is_cut_to_fit(text: str, longest: int) -> None:
    found = plain(text, longest)
    assert len(found) <= longest
    assert not regex.search(r"(?<!\\)(?:\\\\)*[*_`~]", found)


def test_short_text_stays_whole() -> None:
    assert plain("a_b *c*") == r"a\_b \*c\*"


# -- what is shown of the dialogues --------------------------------------------------------------


def pair(old: list[str], new: list[str], **changes: Any) -> tuple[Transcript, Transcript]:
    changes = {"user_turns": [f"Well, {at}?" for at in range(len(old))], **changes}
    return transcript(*old, adapter="a@1", **changes), transcript(*new, adapter="a@2", **changes)


def chosen(*pairs: tuple[Transcript, Transcript]) -> list[Excerpt]:
    before = evaluate("a@1", [one for one, _ in pairs])
    return excerpts(before, evaluate("a@2", [other for _, other in pairs]))


def test_the_turns_that_differ_most_come_first_one_of_each_script() -> None:
    found = chosen(
        pair(["Hm.", "Rum and salt."], ["Hm.", "Salt and rum."], id="dull"),
        pair(["Hm.", "I'm Mirela.", "I'm Mirela."], ["Hm.", "Rum.", "Rum?"], id="cured"),
        pair(["Hm.", "Rum."], ["Hm.", "I'm Mirela."], id="worse"),
        pair(["Hm.", "The same."], ["Hm.", "The same."], id="alike"),
    )
    assert [each.dialogue for each in found] == ["cured", "worse", "dull"]
    assert found[0].differs == "only the champion introduces itself"
    assert found[1].differs == "only the challenger introduces itself"
    assert found[2].differs == ""
    assert (found[1].said, found[1].champion, found[1].challenger) == (
        "Well, 1?", "Rum.", "I'm Mirela.",
    )  # fmt: skip


def test_an_introduction_that_was_asked_for_is_no_difference() -> None:
    [found] = chosen(pair(["I'm Mirela."], ["Mirela, they say."], user_turns=["Who are you?"]))
    assert found.differs == ""
    [found] = chosen(pair(["I'm Mirela."], ["Nobody."], user_turns=["Who are you?"]))
    assert found.differs == "only the champion gives its name"


def test_turns_of_one_script_fill_up_and_failed_replies_are_left_out() -> None:
    found = chosen(pair(["Hm.", "Rum.", "", "Salt."], ["Ha.", "Tar.", "I'm Mirela.", ""]))
    assert [each.turn for each in found] == [1, 0] or [each.turn for each in found] == [0, 1]


def test_a_second_play_is_compared_with_a_second_play() -> None:
    one, other = pair(["Hm."], ["Ha."]), pair(["Ho."], ["He."])
    found = chosen(one, other)
    assert {(each.champion, each.challenger) for each in found} == {("Hm.", "Ha."), ("Ho.", "He.")}
