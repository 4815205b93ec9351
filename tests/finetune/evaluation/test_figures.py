from __future__ import annotations

import time

import numpy as np
import pytest

from finetune.evaluation.figures import Terms, evaluate, figure, paired_difference
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


@pytest.mark.parametrize("dialogues", [30, 100, 1000])
def test_what_was_never_seen_may_still_happen(dialogues: int) -> None:
    """The rule of three: of n dialogues without one, the rate is at most 3 / n."""
    never = [Terms(0.0, 8, 8)] * dialogues
    always = [Terms(8.0, 8, 8)] * dialogues
    rare, sure = figure(never, share=True), figure(always, share=True)
    assert (rare.value, rare.low) == (0.0, 0.0)
    assert rare.high == pytest.approx(3 / dialogues)
    assert (sure.value, sure.high) == (1.0, 1.0)
    assert sure.low == pytest.approx(1 - 3 / dialogues)
    # as exact as Clopper and Pearson's one-sided bound
    assert rare.high == pytest.approx(1 - 0.05 ** (1 / dialogues), rel=0.07)
    assert figure(never).high == 0.0  # where it is no share, there is no such rule
    seen = figure([Terms(1.0, 8, 8), *never], share=True)
    assert seen.high is not None
    assert 0 < seen.high < 0.15


def test_dialogues_without_such_a_turn_prove_nothing() -> None:
    terms = [Terms(0.0, 8, 8)] * 10 + [Terms(0.0, 0, 0)] * 90
    assert figure(terms, share=True).high == pytest.approx(0.3)
    assert figure(terms[:2], share=True).high == 1.0


def test_lengths_and_variety_are_no_shares() -> None:
    found = evaluate("x", [transcript("Hm.", "One two three.")] * 40).figures
    assert found["mean_length"].value == 2
    assert found["IIR"].high == pytest.approx(3 / 40)
    assert found["DupTurn"].value is None
    assert found["ends_by_itself"].low == pytest.approx(1 - 3 / 40)


def test_silence_is_no_reply_and_no_answer_to_the_question_for_the_name() -> None:
    replies = (Reply("Hm.", "stop"), Reply("", "stop"), Reply(" \n", "length"), Reply("", "error"))
    turns = ["a?", "Who are you?", "And?", "Who are you?"]
    found = evaluate("x", [Transcript(script(user_turns=turns), "x", replies)])
    assert found.failed == 3
    assert found.figures["mean_length"].n == 1
    assert found.figures["ends_by_itself"].n == 1
    assert found.figures["IIR"].value is None  # a mute model does not introduce itself, nor not
    recall = found.figures["Recall"]
    assert (recall.value, recall.n) == (0.0, 1)  # the server's error is not the model's silence


def test_a_reply_that_somebody_stopped_is_not_the_models_silence() -> None:
    stopped = Reply("", "cancelled")
    assert stopped.failed
    assert not stopped.silent
    turns = ["Who are you?"]
    found = evaluate("x", [Transcript(script(user_turns=turns), "x", (stopped,))])
    assert found.figures["Recall"].n == 0


def test_pairs_show_what_scripts_hide() -> None:
    """Scripts differ widely, and each is a little better after: only the pair can tell."""
    generator = np.random.default_rng(0)
    rates = generator.uniform(0, 0.8, size=30)
    before = [Terms(20 * rate + 2, 20, 20) for rate in rates]
    after = [Terms(20 * rate, 20, 20) for rate in rates]
    one, other = figure(before), figure(after)
    assert one.low is not None
    assert other.high is not None
    assert one.low < other.high  # the intervals touch
    found = paired_difference(before, after, resamples=500)
    assert found.value == pytest.approx(-0.1)
    assert found.high == pytest.approx(-0.1)
    assert found.n == 600
    back = paired_difference(after, before, resamples=500)
    assert back.low == pytest.approx(0.1)
    assert back.high == pytest.approx(0.1)


def test_the_paired_interval_covers_what_it_should() -> None:
    """Of two that are alike, one seems better in about 5 % of cases."""
    generator = np.random.default_rng(7)
    beside = 0
    for seed in range(200):
        hard = generator.uniform(0, 0.5, size=25)
        one, other = (
            [Terms(float(generator.binomial(8, rate)), 8, 8) for rate in hard] for _ in range(2)
        )
        found = paired_difference(one, other, seed, resamples=400)
        assert found.low is not None
        assert found.high is not None
        beside += found.low > 0 or found.high < 0
    assert beside <= 25


def test_too_few_pairs_have_no_interval() -> None:
    terms = [Terms(1.0, 8, 8)] * 5
    better = [Terms(0.0, 8, 8)] * 5
    found = paired_difference(terms, better)
    assert (found.value, found.low, found.high) == (-0.125, None, None)
    silent = [Terms(0.0, 0, 0)] * 9
    assert paired_difference([*terms, *silent], [*better, *silent]).low is None
    assert paired_difference(silent, silent).value is None
    with pytest.raises(ValueError, match="shorter"):
        paired_difference(terms, better[:2])


def test_a_transform_reaches_value_and_bounds() -> None:
    of = figure([Terms(2.0, 1, 1), Terms(4.0, 1, 1)], transform=np.exp)
    assert of.value == pytest.approx(np.exp(3))
    assert of.low == pytest.approx(np.exp(2))


def test_an_infinite_perplexity_is_null_in_json() -> None:
    of = figure([Terms(4000.0, 1, 1), Terms(2.0, 1, 1)], transform=np.exp)
    assert of.as_json() == {"value": None, "low": pytest.approx(np.exp(2)), "high": None, "n": 2}


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
    assert ".000 [.000, 1.000] n=2" in iir
    assert "failed" not in text
