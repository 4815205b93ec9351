"""Character + history + budget → the messages a model is given, and where it must stop.

The character stands once, at the top, in the system message. The greeting is not an instruction
but the first thing the character said. Nothing else speaks of who the character is: an instruction
right before the reply is what small models say again, turn after turn.

Example dialogues stand as text inside the system message rather than as turns of their own. As
turns they would be remembered as said by this user, they would be trained on as replies, and
templates that demand alternating roles would need an invented user message between the last
example and the greeting.

Lore stands in the system message, around what it belongs to; what a card wants in the middle of
the chat stands there in brackets, as a line of the user's side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import regex

from persona_prompts.character import Character
from persona_prompts.identity.hygiene import without_unasked_introductions
from persona_prompts.lorebook.activation import (
    CONTEXT,
    Activated,
    ActiveEntry,
    Dropped,
    at_positions,
)
from persona_prompts.macros import Scene, Values, fill
from persona_prompts.speakers import NAMELESS, clean_text, speaker_name
from persona_prompts.turns import (
    GAP,
    Count,
    Line,
    Note,
    PromptMessage,
    Said,
    Turn,
    cost_of,
    fitting,
    said_lines,
    turns_of,
    with_notes,
)

__all__ = [
    "EXAMPLES_HEADING", "GAP", "HOW_TO_SPEAK", "MAX_SPEAKER_STOPS", "Count", "Line", "Note",
    "Prompt", "PromptMessage", "PromptTooLong", "build_prompt", "fill_macros", "greeting_text",
    "system_text",
]  # fmt: skip

# How the character is asked to speak, unless its card brings a system prompt of its own.
HOW_TO_SPEAK = "Answer as {{char}}, in one to three short sentences."
EXAMPLES_HEADING = "How {{char}} talks, from other conversations:"

MAX_SPEAKER_STOPS = 16

_EXAMPLE_START = regex.compile(r"<START>", regex.IGNORECASE)
_NO_LORE = Activated()
_NO_SCENE = Scene()


class PromptTooLong(Exception):
    """Character and newest message leave no room; the sentence names `prompt.context_tokens`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given.

    `messages` are the system message, then replies and user messages in turn; the first of them is
    the greeting (assistant) as long as it fits. `stop` are the strings at which somebody else
    would begin to speak. `names` are the character's and those of everybody present, which may be
    said again and again. `tokens` is what the prompt costs at most, overheads included. `dropped`
    says how many lines of the history did not fit. `lore` are the entries that the prompt holds,
    `dropped_lore` those that it should hold and the reason why not. `remembers`: the memory and the
    notes are in it.
    """

    messages: tuple[PromptMessage, ...]
    stop: tuple[str, ...]
    tokens: int
    dropped: int
    lore: tuple[ActiveEntry, ...] = ()
    dropped_lore: tuple[Dropped, ...] = ()
    names: tuple[str, ...] = ()
    remembers: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """A system message and the turns that fit beside it."""

    system: str
    kept: list[Turn]  # of the history
    turns: list[Turn]  # the same, with notes
    used: int  # by the turns
    cost: int  # of both


@dataclass(frozen=True, slots=True)
class _Planning:
    """What does not change while lore and history are made to fit."""

    character: Character
    user: str
    scene: Scene
    turns: list[Turn]
    notes: tuple[Note, ...]
    room: int
    cost: Count
    memory: str = ""

    def system(self, lore: Sequence[ActiveEntry], *, examples: bool = False) -> str:
        """The system message; the memory closes it, so that what never changes stands before."""
        text = system_text(
            self.character, self.user, examples=examples, scene=self.scene, lore=lore
        )
        return f"{text}\n\n{self.memory}" if self.memory else text

    def plan(self, lore: Sequence[ActiveEntry]) -> _Plan | None:
        """The most of the history that fits beside `lore`; None if not even the newest message."""
        system = self.system(lore)
        system_cost = self.cost(system)
        room = self.room - system_cost
        at_depth = (Note(entry.text, entry.depth) for entry in lore if entry.depth is not None)
        notes = (*at_depth, *self.notes)
        spare = sum(self.cost(f"[{note.text}]") for note in notes)
        while system_cost <= self.room:
            found = fitting(self.turns, room - spare, self.cost)
            if found is None:
                return None
            kept, used = found
            if not notes:
                return _Plan(system, kept, kept, used, system_cost + used)
            turns = with_notes(kept, notes)
            used = sum(cost_of(turn, self.cost) for turn in turns)
            if used <= room:
                return _Plan(system, kept, turns, used, system_cost + used)
            spare += used - room  # tokens do not add up exactly where lines join
        return None


def build_prompt(
    character: Character,
    history: Sequence[Line],
    *,
    group: bool,
    user_name: str,
    count: Count,
    context_tokens: int,
    reply_tokens: int,
    message_overhead: int = 0,
    prompt_overhead: int = 0,
    lore: Activated = _NO_LORE,
    notes: Sequence[Note] = (),
    scene: Scene = _NO_SCENE,
    greeting: int = 0,
    memory: str = "",
    begun: bool = False,
) -> Prompt:
    """The prompt for the character's next reply to `history` (oldest first).

    Sentences of its own in which it said unasked who it is are left out.
    `group`: several people may speak, so every line of a user message is `Name: text`, one line
    per message said. `user_name` is who is answered now, and `{{user}}` of the card. `count` gives
    the tokens of a text; it is called about once per message that fits. Prompt and reply share
    `context_tokens`, of which `reply_tokens` are kept free; `message_overhead` and
    `prompt_overhead` are what the prompt format adds per message and once.

    `lore` is what `lorebook.activation.activate` found, `notes` remarks between the messages.
    `scene` is what macros draw on; as long as it stays, so does the prompt's beginning. `greeting`
    is the index of the greeting that opens a history without one. `memory` is what the character
    knows besides (`remembered.memory_text`). `begun`: more was said before `history`, so that no
    greeting belongs there.

    What does not fit falls out in this order: the example dialogues; lore that says of itself that
    it may; the oldest turns, each whole, the greeting first; of what was said since the last reply,
    the oldest lines; the middle of the newest message; other lore, the lowest rank first; memory
    and notes. Raises `PromptTooLong` when not even that leaves room beside the character.
    """
    user = speaker_name(user_name, taken=character.called)
    history = without_unasked_introductions(history, (character.name, *character.aliases))
    speakers = [speaker_name(line.speaker, taken=character.called) for line in history]
    said = said_lines(history, speakers, group=group)
    opening = greeting_text(character, user, greeting, scene=scene, group=group)
    if opening and not begun and not (said and said[0][0]):  # the character did not speak first yet
        said = [(True, Said(opening, stored=False)), *said]
    turns = turns_of(said)

    @cache
    def cost(content: str) -> int:
        return count(content) + message_overhead

    room = context_tokens - reply_tokens - prompt_overhead
    planning = _Planning(
        character, user, scene, turns, tuple(notes), room, cost, clean_text(memory)
    )
    plan, kept_lore = _planned(planning, lore.entries)
    if plan is None:
        planning = replace(planning, memory="", notes=())
        plan, kept_lore = _planned(planning, ())
    if plan is None:
        raise PromptTooLong(_too_long(character, context_tokens, reply_tokens))
    system, tokens = plan.system, plan.cost
    if character.examples and plan.kept == turns:
        longer = planning.system(kept_lore, examples=True)
        longer_cost = cost(longer)
        if longer_cost + plan.used <= room:
            system, tokens = longer, longer_cost + plan.used

    messages = [PromptMessage("system", system)]
    messages += [message for turn in plan.turns for message in turn.messages]
    present = [name for name, line in zip(speakers, history, strict=True) if not line.own]
    lost = tuple(
        Dropped(entry.key, entry.title, CONTEXT) for entry in lore.entries if entry not in kept_lore
    )
    others = _others(reversed(present) if group else (), user)
    return Prompt(
        messages=tuple(messages),
        stop=tuple(dict.fromkeys(f"\n{name}:" for name in (*others, character.called))),
        tokens=tokens + prompt_overhead,
        dropped=sum(turn.lines for turn in turns) - sum(turn.lines for turn in plan.kept),
        lore=tuple(kept_lore),
        dropped_lore=lore.dropped + lost,
        names=tuple(dict.fromkeys((character.name, *character.aliases, *others))),
        remembers=bool(planning.memory or planning.notes),
    )


def system_text(
    character: Character,
    user_name: str,
    *,
    examples: bool = False,
    scene: Scene = _NO_SCENE,
    lore: Sequence[ActiveEntry] = (),
) -> str:
    """The system message: who the character is, and one sentence on how it speaks.

    A card's own `system_prompt` replaces that sentence and the opening ({{original}} in it stands
    for the sentence). `post_history_instructions` close the system message instead of following
    the history: an instruction right before the reply is what characters repeat.
    """

    def filled(text: str, original: str = "") -> str:
        return clean_text(fill(text, Values(character.called, user_name, original, scene)))

    manner = filled(HOW_TO_SPEAK)
    own = filled(character.system_prompt, original=manner)
    found = at_positions(lore)
    parts = [
        own or f"You are {character.called}.",
        *found.get("before_char", ()),
        *found.get("before_desc", ()),
        filled(character.description),
        *found.get("after_desc", ()),
        filled(character.personality),
        *found.get("personality", ()),
        filled(character.scenario),
        *found.get("scenario", ()),
        *found.get("after_char", ()),
        "" if own else manner,
        filled(character.post_history_instructions),
    ]
    text = "\n".join(part for part in parts if part)
    if examples and (shown := _examples(character, scene)):
        text += f"\n\n{filled(EXAMPLES_HEADING)}\n\n{shown}"
    return text


def greeting_text(
    character: Character,
    user_name: str,
    index: int = 0,
    *,
    scene: Scene = _NO_SCENE,
    group: bool = False,
) -> str:
    """What the character says first, as shown and as it opens the history; empty if it waits.

    `index` 0 is the greeting, 1 the first of the alternate greetings, and so on, behind which
    stand, in a group, those that are only for groups; an index past the last is an `IndexError`.
    """
    text = character.greetings(group=group)[index]
    user = speaker_name(user_name, taken=character.called)
    return clean_text(fill(text, Values(character.called, user, scene=scene)))


def fill_macros(text: str, name: str, user_name: str, original: str = "") -> str:
    """`text` with {{char}}, {{user}}, {{original}} and all other macros replaced, in one pass."""
    return fill(text, Values(name, user_name, original))


def _planned(
    planning: _Planning, lore: Sequence[ActiveEntry]
) -> tuple[_Plan | None, list[ActiveEntry]]:
    """A plan that fits, and the lore in it; no plan if it does not fit without any lore."""
    kept = list(lore)
    plan = planning.plan(kept)
    full = plan is None or plan.kept != planning.turns
    if full and any(entry.first_to_go for entry in kept):
        kept = [entry for entry in kept if not entry.first_to_go]
        plan = planning.plan(kept)
    while plan is None and kept:
        kept.remove(min(kept, key=lambda entry: entry.rank))
        plan = planning.plan(kept)
    return plan, kept


def _examples(character: Character, scene: Scene) -> str:
    """The card's example dialogues; nobody real is named as having said a line of them."""
    values = Values(character.called, NAMELESS.capitalize(), scene=scene)
    exchanges = (
        clean_text(part) for part in _EXAMPLE_START.split(fill(character.examples, values))
    )
    return "\n\n".join(exchange for exchange in exchanges if exchange)


def _others(speakers: Iterable[str], user: str) -> list[str]:
    """Who else may speak next, the likeliest first."""
    return list(dict.fromkeys((user, *speakers)))[:MAX_SPEAKER_STOPS]


def _too_long(character: Character, context_tokens: int, reply_tokens: int) -> str:
    return (
        f"The character {character.name} and the newest message do not fit into "
        f"prompt.context_tokens = {context_tokens} with {reply_tokens} of them kept for the reply; "
        f"raise prompt.context_tokens, lower max_new_tokens or shorten the card."
    )
