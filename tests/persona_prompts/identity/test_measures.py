from __future__ import annotations

import csv
import random
import time
from collections import Counter
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_prompts.identity import measures
from persona_prompts.identity.measures import ReplyMeasures, measure_dialogue, measure_reply, words
from persona_prompts.identity.text_units import facts, longest_common_subsequence, ngrams, similar

NAMES = ("Captain Mirela Vex", "Mirela")
CARD = "Mirela sells bottled storms from her ship. She lost a silver tooth in a card game."
_MARKS = st.lists(st.sampled_from("abcd"), max_size=14)
CALIBRATION = Path(__file__).parents[4] / "shared" / "data" / "spc_valid.csv"


def _measure(reply: str, question: str = "", earlier: tuple[str, ...] = ()) -> ReplyMeasures:
    return measure_reply(reply, question, earlier=earlier, names=NAMES, card=CARD)


def test_words_are_lower_case_without_punctuation() -> None:
    assert words("Don’t PANIC, it's *only* rain—42 times!") == [
        *("don't", "panic", "it's", "only", "rain", "42", "times"),
    ]
    assert words("茶好了Mirela请") == ["茶", "好", "了", "mirela", "请"]
    assert words("저는 서윤이에요.") == ["저는", "서윤이에요"]
    assert words("…!") == []


def test_xtr4_is_the_share_of_four_grams_said_before() -> None:
    earlier = ("the tide is high and the moon is low",)
    assert _measure("the tide is high tonight", earlier=earlier).xtr4 == pytest.approx(1 / 2)
    assert _measure("the tide is high", earlier=earlier).xtr4 == 1
    assert _measure("nothing of all that here", earlier=earlier).xtr4 == 0
    assert _measure("the tide is high").xtr4 is None  # k = 0
    assert _measure("too short", earlier=earlier).xtr4 is None


def test_what_the_user_said_is_not_held_against_the_bot() -> None:
    earlier = ("the tide is high and the moon is low",)
    reply = "the tide is high tonight my dear"
    asked = _measure(reply, "is it true that the tide is high?", earlier)
    assert asked.xtr4 == 0
    assert _measure(reply, "well?", earlier).xtr4 == pytest.approx(1 / 4)


def test_pcr4_is_against_the_card() -> None:
    assert _measure("Mirela sells bottled storms", earlier=("hm",)).pcr4 == 1
    assert _measure("Mirela sells bottled storms").pcr4 is None
    assert _measure("buy some of my finest rum", earlier=("hm",)).pcr4 == 0


def test_a_duplicate_is_close_to_an_earlier_reply() -> None:
    earlier = ("Come aboard and look at the maps, my friend.", "Two coins.")
    assert _measure("Come aboard and look at the maps, friend.", "", earlier).duplicate is True
    assert _measure("Come aboard and drink rum with me now.", "", earlier).duplicate is False
    assert _measure("Two coins.", "", earlier).duplicate is None  # under five words
    assert _measure("Come aboard and look at the maps, friend.").duplicate is None


def test_openings_are_of_three_words() -> None:
    earlier = ("Ah, my friend, the rum is gone.",)
    assert _measure("Ah my FRIEND! Sit.", "", earlier).same_opening is True
    assert _measure("Ah, my dear, sit.", "", earlier).same_opening is False
    assert _measure("Ah, my", "", earlier).same_opening is None


def test_sr4_counts_what_a_reply_says_again_itself() -> None:
    assert _measure("a b c d a b c d").sr4 == pytest.approx(1 - 4 / 5)
    assert _measure("a b c d e f").sr4 == 0
    assert _measure("a b c").sr4 is None


def test_a_fact_is_restated_the_second_time() -> None:
    fact = "I lost this silver tooth in a card game, you know."
    first, second = measure_dialogue(["Hm?", "And?"], [fact, fact], names=NAMES, card=CARD)
    assert not first.restates
    assert second.restates
    asked = "You lost a silver tooth in a card game?"
    assert not _measure(fact, asked, (fact,)).restates
    assert not _measure(fact, "And?", ("I sell bottled storms from my ship.",)).restates


def test_facts_are_sentences_of_the_card() -> None:
    assert len(facts(CARD)) == 2
    assert facts("Hm. Well then!") == ()
    chinese = "她在雨巷深处经营一家旧书店。她害怕打雷和闪电。"
    assert len(facts(chinese)) == 2
    said = "我在雨巷深处经营旧书店。"
    assert measure_reply(said, "嗯", earlier=(said,), names=("沈砚",), card=chinese).restates


def test_introductions_and_recall() -> None:
    told = _measure("I'm Mirela.", "How are you?", ("Hm.",))
    assert (told.k, told.elicited, told.introduces, told.names_itself) == (1, False, True, None)
    asked = _measure("Mirela, friend.", "Who are you?")
    assert (asked.elicited, asked.names_itself) == (True, True)
    assert _measure("Guess.", "Who are you?").names_itself is False


def test_a_dialogue_is_its_replies_one_by_one() -> None:
    random.seed(3)
    bag = ["a", "b", "c", "d", "silver", "tooth", "card", "game", "who", "are", "you"]
    said = [" ".join(random.choices(bag, k=9)) for _ in range(8)]
    asked = [" ".join(random.choices(bag, k=5)) for _ in said]
    whole = measure_dialogue(asked, said, names=NAMES, card=CARD)
    for k, measured in enumerate(whole):
        assert measured == _measure(said[k], asked[k], tuple(said[:k]))
        assert measured.k == k


def test_as_many_replies_as_questions() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measure_dialogue(["a", "b"], ["c"], names=NAMES, card="")


def test_empty_replies_have_no_measures() -> None:
    empty = _measure("", "", ("", ""))
    assert (empty.xtr4, empty.sr4, empty.duplicate, empty.words) == (None, None, None, 0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), max_size=14), st.lists(st.sampled_from("abcd"), max_size=14)
)
def test_the_common_subsequence_is_the_longest(a: list[str], b: list[str]) -> None:
    row = [0] * (len(b) + 1)
    for mark in a:
        above = row[:]
        for at, other in enumerate(b, start=1):
            row[at] = above[at - 1] + 1 if mark == other else max(above[at], row[at - 1])
    assert longest_common_subsequence(a, b) == row[-1]
    if a and b:
        assert similar(a, b, 0.7) == (2 * row[-1] / (len(a) + len(b)) >= 0.7)


# -- calibration --------------------------------------------------------------------------------


def _synthetic_persona_chat() -> list[tuple[list[str], list[str], str]]:
    """User 2's side of every dialogue, line by line, answered or not: (asked, said, card)."""
    dialogues = []
    with CALIBRATION.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            asked: list[str] = []
            said: list[str] = []
            heard: list[str] = []
            for line in row["Best Generated Conversation"].split("\n"):
                match = regex.match(r"User ([12]): ?(.*)", line)
                if match is None:
                    continue
                if match[1] == "1":
                    heard.append(match[2])
                    continue
                asked.append("\n".join(heard))
                said.append(match[2])
                heard = []
            dialogues.append((asked, said, row["user 2 personas"]))
    return dialogues


def _mean(values: list[float | bool | None]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known)


@pytest.mark.skipif(not CALIBRATION.exists(), reason="../shared is not here")
def test_calibration_on_synthetic_persona_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of ../shared/identity_repetition.md: its 13,713 turns are user 2's side.

    It was measured before replies of under five words were left out of DupTurn.
    """
    monkeypatch.setattr(measures, "_SHORTEST_DUPLICATE", 1)
    dialogues = _synthetic_persona_chat()
    begun = time.process_time()
    found = [
        measured
        for asked, said, card in dialogues
        for measured in measure_dialogue(asked, said, names=("User 2",), card=card)
    ]
    seconds = time.process_time() - begun
    assert len(found) == pytest.approx(13_713, rel=0.01)
    assert _mean([m.xtr4 for m in found]) == pytest.approx(0.030, abs=0.0015)
    assert _mean([m.duplicate for m in found]) == pytest.approx(0.036, abs=0.0015)
    assert _mean([m.same_opening for m in found]) == pytest.approx(0.094, abs=0.002)
    assert _mean([m.sr4 for m in found]) == pytest.approx(0.0001, abs=0.00005)
    pairs: Counter[tuple[str, ...]] = Counter()
    for _, said, _ in dialogues:
        for reply in said:
            pairs.update(ngrams(words(reply), 2))
    assert len(pairs) / pairs.total() == pytest.approx(0.187, abs=0.003)
    assert seconds < 30  # about four on a quiet core
