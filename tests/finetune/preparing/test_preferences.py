"""Which reply was better, and what of a reply should not have been said."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from finetune.preparing.preferences import (
    Preferences,
    joined,
    preferences,
    spans_said_again,
    word_spans,
)
from finetune.preparing.replies import filters
from finetune.sources.dialogue import Dialogue
from persona_prompts.identity.text_units import words
from tests.finetune.preparing.talk import bare, talk, tokens, with_said


def found(dialogue: Dialogue) -> Preferences:
    for keep in filters(bare()).values():
        dialogue = keep(dialogue)
    return preferences([dialogue], tokens().windows())


def test_a_cut_introduction_makes_a_pair() -> None:
    logged = "I'm Captain Mirela Vex. She leaks a little."
    made = found(talk("Hi!", "Ahoy.", "Nice ship.", logged))
    [pair] = made.pairs
    assert (pair.chosen, pair.rejected) == ("She leaks a little.", logged)
    assert pair.kind == "introduction"
    assert [m.content for m in pair.prompt][1:] == ["Welcome aboard!", "Hi!", "Ahoy.", "Nice ship."]
    [unwanted] = made.unwanted
    assert unwanted.reply == logged
    [(start, end)] = unwanted.spans
    assert logged[start:end].strip() == "I'm Captain Mirela Vex."


def test_a_reply_that_repeats_makes_no_pair_but_is_unwanted() -> None:
    loop = "The tide waits for nobody, my friend."
    made = found(talk("One?", loop, "Two?", f"Listen. {loop} Truly!"))
    assert made.pairs == ()
    [unwanted] = made.unwanted
    assert [unwanted.reply[a:b] for a, b in unwanted.spans] == [loop.rstrip(".")]
    assert unwanted.prompt[-1].content == "Two?"


def test_what_a_reply_says_again_itself_is_unwanted_from_the_second_time_on() -> None:
    first = "The sea is wide and"
    made = found(talk("Tell me.", f"{first} cold. {first} cold, {first.upper()} deep."))
    [unwanted] = made.unwanted
    assert [unwanted.reply[a:b] for a, b in unwanted.spans] == [f"{first} cold, {first.upper()}"]
    assert unwanted.prompt[-1].content == "Tell me."


def test_a_run_of_one_word_is_unwanted_where_its_fourgram_comes_again() -> None:
    assert list(spans_said_again("ha ha ha ha ha!")) == [(3, 14)]
    assert list(spans_said_again("ha ha ha ha!")) == []
    reply = "潮水不等人啊，潮水不等人。"
    assert [reply[a:b] for a, b in joined(spans_said_again(reply))] == ["潮水不等人"]


def test_words_of_the_question_may_be_said_once_only() -> None:
    question = "Is the sea wide and cold?"
    once = "The sea wide and cold is mine."
    assert found(talk(question, once)).unwanted == ()
    [unwanted] = found(talk(question, f"{once} The sea wide and cold!")).unwanted
    assert [unwanted.reply[a:b] for a, b in unwanted.spans] == ["The sea wide and cold"]


def test_unwanted_replies_stand_behind_what_the_bot_is_shown() -> None:
    logged = "I'm Captain Mirela Vex. She leaks a little."
    made = found(talk("Hi!", logged, "And?", logged))
    second = made.unwanted[1]
    # Serving does not feed an introduction back, so no prompt holds one.
    assert second.prompt[-2].content == "She leaks a little."
    assert second.spans == ((0, len(logged) - 1),)


def test_variants_that_were_not_kept_are_rejected() -> None:
    dialogue = with_said(talk("Hi!", "Ahoy."), 1, variants=("Arr.", "Ahoy.", "Yo ho."))
    pairs = found(dialogue).pairs
    assert [(pair.chosen, pair.rejected, pair.kind) for pair in pairs] == [
        ("Ahoy.", "Arr.", "regeneration"),
        ("Ahoy.", "Yo ho.", "regeneration"),
    ]
    assert found(with_said(dialogue, 1, dislikes=1)).pairs == ()


def test_votes() -> None:
    dialogue = talk("Hi!", "I'm Captain Mirela Vex. Ahoy.", "So?", "So what.", "Bye", "Farewell.")
    dialogue = with_said(dialogue, 1, likes=2, dislikes=1)
    dialogue = with_said(dialogue, 3, dislikes=1)
    dialogue = with_said(dialogue, 5, likes=1, dislikes=1)
    votes = found(dialogue).votes
    assert [(vote.reply, vote.liked) for vote in votes] == [("Ahoy.", True), ("So what.", False)]
    broken = with_said(dialogue, 3, finish="length")
    assert [vote.liked for vote in found(broken).votes] == [True]


@given(st.text() | st.from_regex(r"[İIıßΣσς’'A-Za-z中가 .]{0,30}", fullmatch=True))
@example("0‘İ0")
def test_words_are_found_where_they_stand(text: str) -> None:
    tokens = words(text)
    spans = word_spans(text, tokens)
    assert len(spans) == len(tokens)
    for (start, end), token in zip(spans, tokens, strict=True):
        assert 0 <= start < end <= len(text)
        if bare := token.strip("'̇"):
            assert words(text[start:end])[0].strip("'̇")[:1] == bare[:1]
    assert all(a[1] <= b[0] + 1 for a, b in pairwise(spans))
