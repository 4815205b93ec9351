"""Character + history + budget → the messages a model is given, and where it must stop.

The character stands once, at the top, in the system message. The greeting is not an instruction
but the first thing the character said. Nothing else speaks of who the character is: an instruction
right before the reply is what small models say again, turn after turn.

Example dialogues stand as text inside the system message rather than as turns of their own. As
turns they would be remembered as said by this user, they would be trained on as replies, and
templates that demand alternating roles would need an invented user message between the last
example and the greeting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

import regex

from persona_prompts.character import Character
from persona_prompts.speakers import NAMELESS, clean_text, graphemes, one_line, speaker_name

# How the character is asked to speak, unless its card brings a system prompt of its own.
HOW_TO_SPEAK = "Answer as {{char}}, in one to three short sentences."
EXAMPLES_HEADING = "How {{char}} talks, from other conversations:"

MAX_SPEAKER_STOPS = 16
GAP = " … "  # stands for the middle of a message that was too long

_MACRO = regex.compile(r"\{\{\s*(char|user|original)\s*\}\}|<(bot|user)>", regex.IGNORECASE)
_EXAMPLE_START = regex.compile(r"<START>", regex.IGNORECASE)

Count = Callable[[str], int]


class PromptTooLong(Exception):
    """Character and newest message leave no room; the sentence names `prompt.context_tokens`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the channel, as it was said; `own`: said by the character itself."""

    speaker: str
    text: str
    own: bool


class PromptMessage(NamedTuple):
    """One message of the prompt; roles alternate after the system message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given.

    `messages` are the system message, then replies and user messages in turn; the first of them is
    the greeting (assistant) as long as it fits. `stop` are the strings at which somebody else
    would begin to speak. `tokens` is what the prompt costs at most, overheads included. `dropped`
    says how many lines of the history did not fit.
    """

    messages: tuple[PromptMessage, ...]
    stop: tuple[str, ...]
    tokens: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Said:
    """One line as the prompt shows it; `label` (`Ann: `, or nothing) survives any shortening.

    `stored` is False for the greeting that no history holds.
    """

    text: str
    label: str = ""
    stored: bool = True

    def __str__(self) -> str:
        return self.label + self.text


@dataclass(frozen=True, slots=True)
class _Turn:
    """What was said to the character, and its reply; either may be empty, not both."""

    asked: tuple[_Said, ...] = ()
    reply: tuple[_Said, ...] = ()

    @property
    def messages(self) -> list[PromptMessage]:
        messages = []
        if self.asked:
            messages.append(PromptMessage("user", _joined(self.asked)))
        if self.reply:
            messages.append(PromptMessage("assistant", _joined(self.reply)))
        return messages

    @property
    def lines(self) -> int:
        return sum(said.stored for said in self.asked + self.reply)


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
) -> Prompt:
    """The prompt for the character's next reply to `history` (oldest first).

    `group`: several people may speak, so every line of a user message is `Name: text`, one line
    per message said. `user_name` is who is answered now, and `{{user}}` of the card. `count` gives
    the tokens of a text; it is called about once per message that fits. Prompt and reply share
    `context_tokens`, of which `reply_tokens` are kept free; `message_overhead` and
    `prompt_overhead` are what the prompt format adds per message and once.

    What does not fit falls out in this order: the example dialogues; the oldest turns, each whole,
    the greeting first; of what was said since the last reply, the oldest lines; the middle of the
    newest message. Raises `PromptTooLong` when not even that leaves room beside the character.
    """
    user = speaker_name(user_name, taken=character.name)
    speakers = [speaker_name(line.speaker, taken=character.name) for line in history]
    turns = _turns(_opened(character, user, _said(history, speakers, group=group)))
    too_long = PromptTooLong(_too_long(character, context_tokens, reply_tokens))

    @cache
    def cost(content: str) -> int:
        return count(content) + message_overhead

    room = context_tokens - reply_tokens - prompt_overhead
    system = system_text(character, user)
    system_cost = cost(system)
    if system_cost > room:
        raise too_long
    fitting = _fitting(turns, room - system_cost, cost)
    if fitting is None:
        raise too_long
    kept, used = fitting
    dropped = sum(turn.lines for turn in turns) - sum(turn.lines for turn in kept)
    if character.examples and kept == turns:
        longer = system_text(character, user, examples=True)
        longer_cost = cost(longer)
        if longer_cost + used <= room:
            system, system_cost = longer, longer_cost

    messages = [PromptMessage("system", system)]
    messages += [message for turn in kept for message in turn.messages]
    present = [name for name, line in zip(speakers, history, strict=True) if not line.own]
    return Prompt(
        messages=tuple(messages),
        stop=_stops(character, reversed(present) if group else (), user),
        tokens=system_cost + used + prompt_overhead,
        dropped=dropped,
    )


def system_text(character: Character, user_name: str, *, examples: bool = False) -> str:
    """The system message: who the character is, and one sentence on how it speaks.

    A card's own `system_prompt` replaces that sentence and the opening ({{original}} in it stands
    for the sentence). `post_history_instructions` close the system message instead of following
    the history: an instruction right before the reply is what characters repeat.
    """

    def fill(text: str, original: str = "") -> str:
        return clean_text(fill_macros(text, character.name, user_name, original))

    manner = fill(HOW_TO_SPEAK)
    card = (character.description, character.personality, character.scenario)
    own = fill(character.system_prompt, original=manner)
    parts = [own or f"You are {character.name}.", *map(fill, card)]
    if not own:
        parts.append(manner)
    parts.append(fill(character.post_history_instructions))
    text = "\n".join(part for part in parts if part)
    if examples and (shown := _examples(character)):
        text += f"\n\n{fill(EXAMPLES_HEADING)}\n\n{shown}"
    return text


def greeting_text(character: Character, user_name: str, index: int = 0) -> str:
    """What the character says first, as shown and as it opens the history; empty if it waits.

    `index` 0 is the greeting, 1 the first of the alternate greetings, and so on; an index past
    the last is an `IndexError`.
    """
    text = (character.greeting, *character.alternate_greetings)[index]
    user = speaker_name(user_name, taken=character.name)
    return clean_text(fill_macros(text, character.name, user))


def fill_macros(text: str, name: str, user_name: str, original: str = "") -> str:
    """`text` with {{char}}, {{user}}, {{original}}, <BOT> and <USER> replaced, in one pass."""
    values = {"char": name, "bot": name, "user": user_name, "original": original}

    def value(match: regex.Match[str]) -> str:
        return values[(match[1] or match[2]).lower()]

    return _MACRO.sub(value, text)


def _examples(character: Character) -> str:
    """The card's example dialogues; nobody real is named as having said a line of them."""
    text = fill_macros(character.examples, character.name, NAMELESS.capitalize())
    exchanges = (clean_text(part) for part in _EXAMPLE_START.split(text))
    return "\n\n".join(exchange for exchange in exchanges if exchange)


def _said(
    history: Sequence[Line], speakers: Sequence[str], *, group: bool
) -> list[tuple[bool, _Said]]:
    """Every line that says something, safe and labelled, with whether it is the character's."""
    shown = []
    for line, speaker in zip(history, speakers, strict=True):
        if line.own or not group:
            said = _Said(clean_text(line.text))
        else:
            said = _Said(one_line(line.text), label=f"{speaker}: ")
        if said.text:
            shown.append((line.own, said))
    return shown


def _opened(
    character: Character, user: str, said: list[tuple[bool, _Said]]
) -> list[tuple[bool, _Said]]:
    """`said` with the greeting before it, unless the character already spoke first."""
    greeting = greeting_text(character, user)
    if not greeting or (said and said[0][0]):
        return said
    return [(True, _Said(greeting, stored=False)), *said]


def _turns(said: Iterable[tuple[bool, _Said]]) -> list[_Turn]:
    """Runs of lines as turns: what others said one after another, then the reply to it."""
    turns: list[_Turn] = []
    for own, line in said:
        last = turns[-1] if turns else None
        if own and last is not None:
            turns[-1] = replace(last, reply=(*last.reply, line))
        elif own:
            turns.append(_Turn(reply=(line,)))
        elif last is not None and not last.reply:
            turns[-1] = replace(last, asked=(*last.asked, line))
        else:
            turns.append(_Turn(asked=(line,)))
    return turns


def _fitting(turns: list[_Turn], room: int, cost: Count) -> tuple[list[_Turn], int] | None:
    """The newest of `turns` that fit, and what they cost; None if not even the newest message."""
    kept: list[_Turn] = []
    used = 0
    if turns and turns[-1].asked:
        newest = _fit_newest(turns[-1], room, cost)
        if newest is None:
            return None
        kept.append(newest)
        used = _cost_of(newest, cost)
    if kept and kept[0] != turns[-1]:
        return kept, used
    for turn in reversed(turns[: len(turns) - len(kept)]):
        needed = _cost_of(turn, cost)
        if used + needed > room:
            break
        kept.append(turn)
        used += needed
    return kept[::-1], used


def _fit_newest(turn: _Turn, room: int, cost: Count) -> _Turn | None:
    """`turn` within `room` tokens: without its oldest lines, at worst the newest one shortened.

    None if nothing of the newest line would be left.
    """
    if _cost_of(turn, cost) <= room:
        return turn
    room -= cost(_joined(turn.reply)) if turn.reply else 0
    asked = _newest_lines(turn.asked, room, cost)
    if len(asked) > 1 or cost(_joined(asked)) <= room:
        return replace(turn, asked=asked)
    cut = _cut_middle(asked[0], room, cost)
    return None if cut is None else replace(turn, asked=(cut,))


def _newest_lines(lines: tuple[_Said, ...], room: int, cost: Count) -> tuple[_Said, ...]:
    """The longest end of `lines` that fits, or the last line alone."""
    used, first = 0, len(lines)
    while first > 0 and used <= room:
        first -= 1
        used += cost(str(lines[first]))
    kept = lines[first:]
    # Tokens do not add up exactly where lines join, so what was chosen is counted once more.
    step = 1
    while len(kept) > 1 and cost(_joined(kept)) > room:
        kept = kept[min(step, len(kept) - 1) :]
        step *= 2
    return kept


def _cut_middle(said: _Said, room: int, cost: Count) -> _Said | None:
    """`said` with as much of its middle replaced by a gap as `room` demands; None if all of it."""
    pieces = graphemes(said.text)
    keep, needed = len(pieces), cost(str(said))
    while needed > room:
        keep = int(keep * min(0.95, max(room, 0) / needed))
        if keep < 2:
            return None
        head = "".join(pieces[: keep - keep // 2]).rstrip()
        tail = "".join(pieces[len(pieces) - keep // 2 :]).lstrip()
        cut = replace(said, text=head + GAP + tail)
        needed = cost(str(cut))
        if needed <= room:
            return cut
    return said


def _joined(lines: Iterable[_Said]) -> str:
    return "\n".join(map(str, lines))


def _cost_of(turn: _Turn, cost: Count) -> int:
    return sum(cost(message.content) for message in turn.messages)


def _stops(character: Character, speakers: Iterable[str], user: str) -> tuple[str, ...]:
    """The beginnings of other speakers' lines, the likeliest first, and of the character's own."""
    names = list(dict.fromkeys((user, *speakers)))[:MAX_SPEAKER_STOPS]
    return tuple(dict.fromkeys(f"\n{name}:" for name in (*names, character.name)))


def _too_long(character: Character, context_tokens: int, reply_tokens: int) -> str:
    return (
        f"The character {character.name} and the newest message do not fit into "
        f"prompt.context_tokens = {context_tokens} with {reply_tokens} of them kept for the reply; "
        f"raise prompt.context_tokens, lower max_new_tokens or shorten the card."
    )
