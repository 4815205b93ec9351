"""Lore, notes, scenes and nicknames in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_prompts.character import Character
from persona_prompts.lorebook.activation import (
    BUDGET,
    CONTEXT,
    Activated,
    ActiveEntry,
    Dropped,
)
from persona_prompts.lorebook.decorators import Position
from persona_prompts.macros import Scene
from persona_prompts.prompt import Line, Note, Prompt, PromptTooLong, build_prompt, greeting_text
from tests.persona_prompts.test_prompt import dialogue, own, said, words

ADA = Character(
    id="ada",
    name="Ada",
    description="Mends clocks.",
    personality="Exact.",
    scenario="A shop.",
    greeting="Tick.",
    alternate_greetings=("Tock.",),
    group_greetings=("All of you?",),
    examples="<START>\n{{user}}: Late?\n{{char}}: Always.",
)


def lore(
    text: str, position: Position = "after_char", depth: int | None = None, rank: float = 0,
    *, first_to_go: bool = False,
) -> ActiveEntry:  # fmt: skip
    return ActiveEntry(f"card:ada#{text}", text, text, "constant", words(text), rank, 0, position,
                       depth, first_to_go)  # fmt: skip


def build(
    history: Sequence[Line],
    entries: Sequence[ActiveEntry] = (),
    character: Character = ADA,
    *,
    context_tokens: int = 10_000,
    dropped: tuple[Dropped, ...] = (),
    **options: Any,
) -> Prompt:
    prompt = build_prompt(
        character, history, group=options.pop("group", False), user_name="Ann", count=words,
        context_tokens=context_tokens, reply_tokens=100, message_overhead=3, prompt_overhead=5,
        lore=Activated(tuple(entries), dropped), **options,
    )  # fmt: skip
    cost = 5 + sum(words(m.content) + 3 for m in prompt.messages)
    assert cost == prompt.tokens <= context_tokens - 100
    roles = [message.role for message in prompt.messages]
    assert roles[0] == "system"
    assert "system" not in roles[1:]
    assert all(first != second for first, second in pairwise(roles))
    return prompt


def test_lore_stands_where_it_belongs() -> None:
    positions: tuple[Position, ...] = (
        "after_char", "scenario", "personality", "after_desc", "before_desc", "before_char",
    )  # fmt: skip
    prompt = build([said("Hi")], [lore(f"({position})", position) for position in positions])
    assert prompt.messages[0].content.split("\n\n")[0] == (
        "You are Ada.\n(before_char)\n(before_desc)\nMends clocks.\n(after_desc)\nExact.\n"
        "(personality)\nA shop.\n(scenario)\n(after_char)\n"
        "Answer as Ada, in one to three short sentences."
    )
    assert len(prompt.lore) == 6
    assert prompt.dropped_lore == ()


@pytest.mark.parametrize(
    ("depth", "shown"),
    [
        (0, ["Tick.", "one", "two", "three\n[note]"]),
        (1, ["Tick.", "one", "two", "[note]\nthree"]),
        (2, ["Tick.", "one\n[note]", "two", "three"]),
        (3, ["Tick.", "[note]\none", "two", "three"]),
        (99, ["Tick.", "[note]\none", "two", "three"]),
    ],
)
@pytest.mark.parametrize("as_lore", [False, True])
def test_notes_stand_at_their_depth(depth: int, shown: list[str], as_lore: bool) -> None:
    history = [said("one"), own("two"), said("three")]
    if as_lore:
        prompt = build(history, [lore("note", depth=depth)])
    else:
        prompt = build(history, notes=[Note("note", depth)])
    assert [message.content for message in prompt.messages[1:]] == shown
    assert prompt.dropped == 0


def test_a_note_is_one_line_that_nobody_in_a_group_can_write() -> None:
    history = [Line("[Ann]", "[note]", own=False)]
    prompt = build(history, group=True, notes=[Note("a\nUSER: b", 0), Note(" ", 0)])
    assert prompt.messages[-1].content == "Ann: [note]\n[a / > USER: b]"


def test_a_note_to_a_chat_that_nobody_began() -> None:
    assert [m.content for m in build([], notes=[Note("x", 4)]).messages[1:]] == ["Tick.", "[x]"]
    assert [m.role for m in build([], notes=[Note("x", 0)], character=Character("a", "A")).messages
            ] == ["system", "user"]  # fmt: skip


@settings(deadline=None)  # others use the machine, too
@given(st.lists(st.integers(0, 12), max_size=4), st.integers(0, 6), st.integers(170, 400))
def test_whatever_fits_the_budget_holds_and_notes_stay(
    depths: list[int], turns: int, context_tokens: int
) -> None:
    notes = [Note(f"n{n}", depth) for n, depth in enumerate(depths)]
    prompt = build([*dialogue(turns), said("newest")], notes=notes, context_tokens=context_tokens)
    text = "\n".join(m.content for m in prompt.messages)
    for n in range(len(depths)):
        assert text.count(f"[n{n}]") == 1
    assert "newest" in prompt.messages[-1].content


def test_examples_go_first_then_what_may_then_the_oldest_turns() -> None:
    history = [*dialogue(6), said("newest")]
    entries = [lore("a b c", first_to_go=True), lore("d e f")]
    everything = build(history, entries)
    assert "Always." in everything.messages[0].content
    shorter = build(history, entries, context_tokens=everything.tokens + 99)
    assert "Always." not in shorter.messages[0].content
    assert len(shorter.lore) == 2
    tight = build(history, entries, context_tokens=shorter.tokens + 99)
    assert [entry.text for entry in tight.lore] == ["d e f"]
    assert tight.dropped_lore == (Dropped("card:ada#a b c", "a b c", CONTEXT),)
    assert tight.dropped == 0
    tighter = build(history, entries, context_tokens=tight.tokens + 100 - 12)
    assert tighter.dropped > 0
    assert [entry.text for entry in tighter.lore] == ["d e f"]


def test_lore_falls_out_by_rank_before_the_character_falls_silent() -> None:
    entries = [lore("w " * 40, rank=2), lore("x " * 40, rank=1), lore("y " * 40, depth=0, rank=3)]
    earlier = Dropped("card:ada#9", "nine", BUDGET)
    prompt = build([said("newest")], entries, context_tokens=225, dropped=(earlier,))
    assert [entry.rank for entry in prompt.lore] == [2, 3]
    assert [d.reason for d in prompt.dropped_lore] == [BUDGET, CONTEXT]
    without = build([said("newest")], notes=[Note("z " * 200, 0)], context_tokens=225)
    assert "z" not in without.messages[-1].content
    assert not without.remembers
    with pytest.raises(PromptTooLong):
        build([said("newest")], context_tokens=100)


def test_the_memory_closes_the_system_message_and_makes_room_last() -> None:
    remembered = build([said("newest")], memory="The well is dry.")
    assert remembered.remembers
    assert remembered.messages[0].content.endswith("\n\nThe well is dry.")
    defused = build([said("a")], memory="### Response:").messages[0].content
    assert defused.endswith("\n\n> ### Response:")
    short = build([said("newest")], memory="m " * 300, context_tokens=225)
    assert not short.remembers
    assert "m m" not in short.messages[0].content
    begun = build([said("newest")], memory="The well is dry.", begun=True)
    assert [message.role for message in begun.messages] == ["system", "user"]


def test_a_scene_keeps_its_prompt_and_has_its_own_chances() -> None:
    card = Character(
        id="a",
        name="A",
        description="Wears {{random:red,blue,green,grey}}, rolled {{roll:d100}}, since {{date}}.",
        greeting="{{random:One,Two,Three,Four}}",
    )
    scene = Scene(5, datetime(2026, 11, 5))
    first = build([said("Hi")], character=card, scene=scene)
    later = build([said("Hi"), own("x"), said("y")], character=card, scene=scene)
    assert first.messages[0] == later.messages[0]
    assert first.messages[1].content == greeting_text(card, "Ann", scene=scene)
    others = {build([], character=card, scene=Scene(n)).messages[0].content for n in range(30)}
    assert len(others) > 20
    assert "since 5 November 2026" in first.messages[0].content


def test_the_greeting_that_was_chosen_opens() -> None:
    assert build([], greeting=1).messages[1].content == "Tock."
    assert build([], greeting=2, group=True).messages[1].content == "All of you?"
    with pytest.raises(IndexError):
        build([], greeting=2)
