from __future__ import annotations

import time

import numpy as np
import pytest

from finetune.evaluation.figures import Terms, evaluate, figure
from finetune.evaluation.relevance import cosines
from finetune.evaluation.table import table
from finetune.evaluation.transcripts import Reply, Transcript
from tests.finetune.evaluation.samples import script, transcript

INTRO = "I'm Mirela, a pirate."


def test_iir_is_over_later_replies_that_were_not_elicited() -> None:
    played = [
        transcript(INTRO, INTRO, "The rum is gone, alas."),  # the first is k = 0
        transcript("Storms.", INTRO, INTRO, user_turns=["Hm?", "Who are you?", "And?"]),
    ]
    found = evaluate("base", played)
    assert found.figures["IIR"].value == pytest.approx(2 / 3)
    assert found.figures["IIR"].n == 3
    assert found.figures["Recall"].value == 1
    assert found.figures["Recall"].n == 1
    assert {k: of.value for k, of in found.iir_by_turn.items()} == {0: 0.5, 1: 1.0, 2: 0.5}
    assert found.figures["mean_length"].n == 6


def test_failed_replies_are_counted_and_measured_nowhere() -> None:
    replies = (Reply(INTRO, "stop"), Reply("", "error", "It broke."), Reply(INTRO, "length"))
    turns = ["a?", "b?", "c?"]
    found = evaluate("x", [Transcript(script(user_turns=turns), "x", replies)])
    assert found.failed == 1
    assert found.figures["IIR"].n == 1
    assert found.figures["ends_by_itself"].value == 0.5
    assert [m.k for m in found.measured[0].measures] == [0, 1]


def test_endings_that_are_not_known_are_no_figure() -> None:
    found = evaluate("x", [Transcript(script(user_turns=["a"]), "x", (Reply("b"),))])
    assert "ends_by_itself" not in found.figures
    assert found.figures["Recall"].as_json() == {"value": None, "low": None, "high": None, "n": 0}


def test_distinct_2_is_over_all_dialogues_together() -> None:
    found = evaluate("x", [transcript("a b c"), transcript("a b d")])
    assert found.figures["distinct-2"].value == pytest.approx(3 / 4)


def test_the_interval_covers_what_it_should() -> None:
    """Of intervals on samples of a known rate, about 95 % hold it."""
    generator = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        hits = generator.binomial(8, 0.3, size=60)
        of = figure([Terms(float(hit), 8, 8) for hit in hits], seed, resamples=500)
        assert of.low is not None
        assert of.high is not None
        held += of.low <= 0.3 <= of.high
    assert 178 <= held <= 200


def test_dialogues_are_resampled_not_turns() -> None:
    alike = [Terms(8.0 * (at % 2), 8, 8) for at in range(20)]
    mixed = [Terms(4.0, 8, 8)] * 20
    wide, narrow = figure(alike), figure(mixed)
    assert wide.value == narrow.value == 0.5
    assert wide.low is not None
    assert wide.low < 0.35
    assert narrow.low == narrow.high == 0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    terms = [Terms(float(at % 3), 3, 3) for at in range(12)]
    assert figure(terms, 1) == figure(terms, 1)
    assert figure(terms, 1) != figure(terms, 2)


def test_a_transform_reaches_value_and_bounds() -> None:
    of = figure([Terms(2.0, 1, 1), Terms(4.0, 1, 1)], transform=np.exp)
    assert of.value == pytest.approx(np.exp(3))
    assert of.low == pytest.approx(np.exp(2))


def test_nothing_has_no_figure() -> None:
    assert figure([]).value is None
    assert evaluate("x", []).figures["IIR"].n == 0


def test_a_thousand_dialogues_take_seconds() -> None:
    played = [
        transcript(*[f"The tide is {at} and {k} high." for k in range(8)]) for at in range(200)
    ]
    begun = time.process_time()
    evaluate("x", played)
    assert time.process_time() - begun < 15


def test_relevance_is_the_mean_cosine() -> None:
    class Embedder:
        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            return np.array([[1.0, 0.0] if "rum" in text else [0.0, 1.0] for text in texts])

    played = [transcript("rum", "tea", user_turns=["rum?", "more rum?"])]
    found = evaluate("x", played, relevance=lambda pairs: cosines(Embedder(), pairs))
    assert found.figures["relevance"].value == 0.5
    assert found.figures["relevance"].n == 2
    assert "relevance" not in evaluate("x", played).figures


def test_the_table_shows_adapters_side_by_side() -> None:
    before = evaluate("seeds-bot", [transcript("Hm.", INTRO), transcript("Hm.", "No.")])
    after = evaluate("cured@2", [transcript("Hm.", "Rum?"), transcript("Hm.", "No.")])
    text = table([before, after])
    heading, _, iir, *_ = text.split("\n")
    assert heading.split() == ["seeds-bot", "cured@2"]
    assert iir.startswith("IIR ↓")
    assert ".500" in iir
    assert ".000 [.000, .000] n=2" in iir
    assert "failed" not in text
