from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_prompts.character import Character
from persona_prompts.prompt import (
    GAP,
    HOW_TO_SPEAK,
    MAX_SPEAKER_STOPS,
    Line,
    Prompt,
    PromptTooLong,
    build_prompt,
    fill_macros,
    greeting_text,
)
from persona_prompts.speakers import one_line, speaker_name
from tests.persona_prompts.test_speakers import ANY_TEXT

ADA = Character(
    id="ada",
    name="Ada",
    description="{{char}} mends clocks.",
    personality="Exact.",
    scenario="{{user}} came in.",
    greeting="Tick, {{user}}!",
    examples="<START>\n{{user}}: Is it late?\n{{char}}: Always.\n<START>\n{{user}}: Bye.",
)


def words(text: str) -> int:
    return len(text.split())


def build(
    history: Sequence[Line],
    character: Character = ADA,
    *,
    group: bool = False,
    user_name: str = "Ann",
    context_tokens: int = 10_000,
    reply_tokens: int = 100,
    message_overhead: int = 3,
    prompt_overhead: int = 5,
) -> Prompt:
    prompt = build_prompt(
        character,
        history,
        group=group,
        user_name=user_name,
        count=words,
        context_tokens=context_tokens,
        reply_tokens=reply_tokens,
        message_overhead=message_overhead,
        prompt_overhead=prompt_overhead,
    )
    cost = prompt_overhead + sum(words(m.content) + message_overhead for m in prompt.messages)
    assert cost == prompt.tokens <= context_tokens - reply_tokens
    roles = [message.role for message in prompt.messages]
    assert roles[0] == "system"
    assert "system" not in roles[1:]
    assert all(first != second for first, second in pairwise(roles))
    return prompt


def said(text: str, speaker: str = "Ann") -> Line:
    return Line(speaker, text, own=False)


def own(text: str) -> Line:
    return Line("Ada", text, own=True)


def dialogue(turns: int, words_per_line: int = 3) -> list[Line]:
    lines = []
    for number in range(turns):
        filler = " ".join(["w"] * (words_per_line - 1))
        lines += [said(f"q{number} {filler}"), own(f"a{number} {filler}")]
    return lines


# What the model is told


def test_the_character_stands_once_at_the_top_and_the_greeting_opens_the_history() -> None:
    prompt = build([said("Hello!")])
    system, greeting, question = prompt.messages
    assert system.content == (
        "You are Ada.\nAda mends clocks.\nExact.\nAnn came in.\n"
        + HOW_TO_SPEAK.replace("{{char}}", "Ada")
        + "\n\nHow Ada talks, from other conversations:\n\n"
        "Someone: Is it late?\nAda: Always.\n\nSomeone: Bye."
    )
    assert greeting == ("assistant", "Tick, Ann!")
    assert question == ("user", "Hello!")
    assert prompt.stop == ("\nAnn:", "\nAda:")
    assert prompt.dropped == 0


def test_the_system_message_never_asks_for_an_introduction_or_repeats_the_greeting() -> None:
    content = build([said("Hello!")]).messages[0].content.lower()
    assert "introduc" not in content
    assert "greet" not in content
    assert "tick" not in content


def test_a_greeting_that_was_stored_is_not_said_twice() -> None:
    prompt = build([own("Tick, Ann!"), said("Hello!")])
    assert [m.content for m in prompt.messages[1:]] == ["Tick, Ann!", "Hello!"]
    # An own line that is not the greeting also means that the scene already began.
    prompt = build([own("As I said."), said("Hello!")])
    assert [m.content for m in prompt.messages[1:]] == ["As I said.", "Hello!"]


def test_without_a_greeting_the_history_opens_with_the_user() -> None:
    prompt = build([said("Hello!")], Character(id="a", name="A"))
    assert [m.role for m in prompt.messages] == ["system", "user"]


def test_an_empty_history_is_the_greeting() -> None:
    assert [m.role for m in build([]).messages] == ["system", "assistant"]


def test_a_cards_own_system_prompt_replaces_ours() -> None:
    card = Character(
        id="a",
        name="Ada",
        description="Mends.",
        system_prompt="Be {{char}}. {{original}}",
        post_history_instructions="Rhyme.",
    )
    assert build([], card).messages[0].content == (
        f"Be Ada. {HOW_TO_SPEAK.replace('{{char}}', 'Ada')}\nMends.\nRhyme."
    )


def test_macros_are_filled_in_one_pass() -> None:
    assert fill_macros("{{ Char }} {{USER}} <BOT> <user> {{x}}", "A", "{{char}}") == (
        "A {{char}} A {{char}} {{x}}"
    )


def test_greetings_by_index() -> None:
    card = Character(id="a", name="Ada", greeting="One", alternate_greetings=("Two {{user}}",))
    assert greeting_text(card, "Ann\n") == "One"
    assert greeting_text(card, "Ann\n", 1) == "Two Ann"
    with pytest.raises(IndexError):
        greeting_text(card, "Ann", 2)


# Who said what


def test_consecutive_lines_merge_and_only_others_are_named_in_a_group() -> None:
    history = [
        said("Hi"), said("Hello", "Bob"), own("Yes?"), own("Well?"), said("one\nEve: two", "Bob"),
    ]  # fmt: skip
    prompt = build(history, group=True)
    assert [m.content for m in prompt.messages[1:]] == [
        "Tick, Ann!",
        "Ann: Hi\nBob: Hello",
        "Yes?\nWell?",
        "Bob: one / Eve: two",
    ]
    assert prompt.stop == ("\nAnn:", "\nBob:", "\nAda:")


def test_one_to_one_lines_keep_their_lines_but_not_role_markers() -> None:
    prompt = build([said("one\ntwo\n### Instruction: three")])
    assert prompt.messages[-1].content == "one\ntwo\n> ### Instruction: three"


def test_lines_that_say_nothing_are_skipped() -> None:
    prompt = build([said("Hi"), said(" \n\x00"), own(""), said("There")], group=True)
    assert prompt.messages[-1].content == "Ann: Hi\nAnn: There"
    assert prompt.dropped == 0


def test_a_user_with_the_characters_name_is_somebody_else() -> None:
    prompt = build([said("I am she", "ada")], group=True, user_name="ada")
    assert prompt.messages[-1].content == "someone: I am she"
    assert prompt.stop == ("\nsomeone:", "\nAda:")


def test_stops_are_the_latest_speakers() -> None:
    history = [said("x", f"P{n}") for n in range(40)]
    stop = build(history, group=True, user_name="P39").stop
    assert stop == (*(f"\nP{n}:" for n in range(39, 39 - MAX_SPEAKER_STOPS, -1)), "\nAda:")


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT, st.booleans()), max_size=8))
def test_exactly_those_who_spoke_can_be_read_from_a_group_prompt(
    spoken: list[tuple[str, str, bool]],
) -> None:
    """Whatever names and texts are: the lines of the user messages are what was said, by whom."""
    history = [Line(name, text, own) for name, text, own in spoken]
    prompt = build(history, group=True, context_tokens=100_000)
    shown = []
    for message in prompt.messages:
        message.content.encode("utf-8")
        if message.role == "user":
            assert message.content.split("\n") == message.content.splitlines()
            shown += [tuple(line.split(": ", 1)) for line in message.content.split("\n")]
    assert shown == [
        (speaker_name(name, taken="Ada"), one_line(text))
        for name, text, own in spoken
        if not own and one_line(text)
    ]


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT, st.booleans()), max_size=8), st.booleans())
def test_no_message_begins_a_line_with_a_role_marker(
    spoken: list[tuple[str, str, bool]], group: bool
) -> None:
    history = [Line(name, text, own) for name, text, own in spoken]
    for message in build(history, group=group, context_tokens=100_000).messages:
        for line in message.content.splitlines():
            assert not line.lstrip(" \t\u200b").startswith(("##", "<|", "[INST]"))
            assert not line.lower().startswith(("user:", "assistant:", "system:"))


# The budget


def test_examples_fall_out_before_any_turn() -> None:
    history = [*dialogue(3), said("newest")]
    full = build(history)
    tight = build(history, context_tokens=full.tokens + 100 - 1)
    assert "Always." in full.messages[0].content
    assert "Always." not in tight.messages[0].content
    assert tight.messages[1:] == full.messages[1:]
    assert tight.dropped == 0


@pytest.mark.parametrize("context_tokens", range(140, 300))
def test_the_oldest_turns_fall_out_whole(context_tokens: int) -> None:
    history = [*dialogue(8), said("newest")]
    prompt = build(history, context_tokens=context_tokens)
    shown = [m.content.split()[0] for m in prompt.messages[1:]]
    everything = ["Tick,", *(line.text.split()[0] for line in history)]
    assert shown == everything[len(everything) - len(shown) :]
    # the newest message, whole turns of two before it, and at the very last the greeting
    assert len(shown) % 2 == 1 or shown == everything
    assert prompt.dropped == len(history) - len([s for s in shown if s != "Tick,"])
    if prompt.dropped:
        next_turn = 2 * (3 + 3)
        assert prompt.tokens + next_turn > context_tokens - 100


def test_the_greeting_is_the_oldest_turn() -> None:
    history = [*dialogue(1), said("newest")]
    bare = build(history, Character(id="a", name="Ada"))
    greeted = Character(id="a", name="Ada", greeting="Tick tock")
    prompt = build(history, greeted, context_tokens=bare.tokens + 100 + 4)
    assert prompt.messages == bare.messages
    assert prompt.dropped == 0  # nothing of the stored history is missing
    assert len(build(history, greeted, context_tokens=bare.tokens + 100 + 5).messages) == 5


def test_of_the_newest_message_the_oldest_lines_fall_out_first() -> None:
    history = [said(f"line {n}", f"P{n}") for n in range(50)]
    prompt = build(history, group=True, context_tokens=180)
    lines = prompt.messages[-1].content.split("\n")
    assert len(prompt.messages) == 2
    assert 1 < len(lines) < 50
    assert lines == [f"P{n}: line {n}" for n in range(50 - len(lines), 50)]
    assert prompt.dropped == 50 - len(lines)


def test_a_newest_message_over_the_whole_budget_loses_its_middle() -> None:
    text = " ".join(f"w{n}" for n in range(1000))
    prompt = build([*dialogue(3), said(text, "Bob\nEve: hi")], group=True, context_tokens=200)
    assert [m.role for m in prompt.messages] == ["system", "user"]
    content = prompt.messages[-1].content
    assert content.startswith("Bob Eve hi: w0 w1 ")
    assert content.endswith(" w998 w999")
    assert GAP in content
    assert prompt.tokens > 90  # of 100: most of the room is used
    assert prompt.dropped == 6


def test_a_cut_never_splits_a_grapheme() -> None:
    prompt = build_prompt(
        Character(id="a", name="A"),
        [said("👨‍👩‍👧" * 800)],
        group=False,
        user_name="Ann",
        count=len,
        context_tokens=400,
        reply_tokens=100,
    )
    assert set(prompt.messages[-1].content.replace(GAP, "").split("👨‍👩‍👧")) == {""}


def test_a_card_that_does_not_fit_is_one_sentence() -> None:
    card = Character(id="ada", name="Ada", description="word " * 500)
    with pytest.raises(PromptTooLong, match=r"Ada .* prompt\.context_tokens = 400 with 100"):
        build([said("Hi")], card, context_tokens=400)
    with pytest.raises(PromptTooLong):
        build([said("Hi")], context_tokens=256, reply_tokens=400)


def test_a_history_that_ends_with_the_character_keeps_what_fits() -> None:
    history = [*dialogue(4), said("w " * 200), own("mine")]
    prompt = build(history, context_tokens=160)
    assert prompt.messages[-1].content == "mine"
    assert GAP in prompt.messages[-2].content


def test_count_is_called_once_per_message_that_fits() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return words(text)

    history = [*dialogue(500), said("newest")]
    for context_tokens in (200, 10_000):
        counted.clear()
        prompt = build_prompt(
            ADA, history, group=False, user_name="Ann", count=count,
            context_tokens=context_tokens, reply_tokens=100,
        )  # fmt: skip
        assert len(counted) <= len(prompt.messages) + 3
        assert len(set(counted)) == len(counted)
    counted.clear()
    long = [said(f"line {n} " * 20, f"P{n}") for n in range(500)]
    build_prompt(
        ADA, long, group=True, user_name="Ann", count=count, context_tokens=2000, reply_tokens=100
    )
    assert sum(map(len, counted)) < 3 * sum(len(line.text) + 6 for line in long)


@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT, st.booleans()), max_size=8),
    st.integers(60, 400),
    st.booleans(),
)
def test_the_reserve_is_kept_and_the_newest_message_too(
    spoken: list[tuple[str, str, bool]], context_tokens: int, group: bool
) -> None:
    history = [Line(name, text, own) for name, text, own in [*spoken, ("Ann", "newest", False)]]
    prompt = build_prompt(
        Character(id="a", name="A", greeting="Hm."), history, group=group, user_name="Ann",
        count=len, context_tokens=context_tokens + 110, reply_tokens=100,
    )  # fmt: skip
    assert prompt.tokens <= context_tokens + 10
    assert prompt.tokens == sum(len(message.content) for message in prompt.messages)
    assert prompt.messages[-1].role == "user"
    assert prompt.messages[-1].content.endswith("newest")


def test_the_names_are_those_of_the_character_and_of_everybody_present() -> None:
    character = Character(id="x", name="Noor Costa", aliases=("Noor",), description="A pilot.")
    history = [Line("Ann", "Hello.", own=False), Line("Bo", "Hey.", own=False)]
    prompt = build_prompt(
        character,
        history,
        group=True,
        user_name="Bo",
        count=len,
        context_tokens=2000,
        reply_tokens=100,
    )
    assert prompt.names == ("Noor Costa", "Noor", "Bo", "Ann")
