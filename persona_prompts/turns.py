"""What was said, as turns of a chat, and how much of it fits into a number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from persona_prompts.speakers import clean_text, graphemes, one_line

GAP = " … "  # stands for the middle of a message that was too long

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the channel, as it was said; `own`: said by the character itself."""

    speaker: str
    text: str
    own: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A remark to the model between the messages: an author's note, a reminder.

    It stands in brackets in a line of its own, `depth` messages before the end; 0 is behind the
    newest. Line breaks in it become ` / `.
    """

    text: str
    depth: int


class PromptMessage(NamedTuple):
    """One message of the prompt; roles alternate after the system message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Said:
    """One line as the prompt shows it; `label` (`Ann: `, or nothing) survives any shortening.

    `stored` is False for what no history holds: the greeting, and notes.
    """

    text: str
    label: str = ""
    stored: bool = True

    def __str__(self) -> str:
        return self.label + self.text


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said to the character, and its reply; either may be empty, not both."""

    asked: tuple[Said, ...] = ()
    reply: tuple[Said, ...] = ()

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


def said_lines(
    history: Sequence[Line], speakers: Sequence[str], *, group: bool
) -> list[tuple[bool, Said]]:
    """Every line that says something, safe and labelled, with whether it is the character's."""
    shown = []
    for line, speaker in zip(history, speakers, strict=True):
        if line.own or not group:
            said = Said(clean_text(line.text))
        else:
            said = Said(one_line(line.text), label=f"{speaker}: ")
        if said.text:
            shown.append((line.own, said))
    return shown


def turns_of(said: Iterable[tuple[bool, Said]]) -> list[Turn]:
    """Runs of lines as turns: what others said one after another, then the reply to it."""
    turns: list[Turn] = []
    for own, line in said:
        last = turns[-1] if turns else None
        if own and last is not None:
            turns[-1] = replace(last, reply=(*last.reply, line))
        elif own:
            turns.append(Turn(reply=(line,)))
        elif last is not None and not last.reply:
            turns[-1] = replace(last, asked=(*last.asked, line))
        else:
            turns.append(Turn(asked=(line,)))
    return turns


def with_notes(turns: Sequence[Turn], notes: Iterable[Note]) -> list[Turn]:
    """`turns` with the notes in their places, in their order where places are the same.

    A note never opens a chat that the character opened, and past the oldest message it stands
    before that one. Since no name holds a bracket, nobody's line in a group looks like a note.
    """
    said = [(own, line) for t in turns for own, run in ((False, t.asked), (True, t.reply))
            for line in run]  # fmt: skip
    opening = next((at for at, (own, _) in enumerate(said) if not own), len(said))
    placed: dict[int, list[tuple[bool, Said]]] = {}
    for note in notes:
        text = one_line(note.text)
        if text:
            at = min(max(opening, len(said) - max(note.depth, 0)), len(said))
            placed.setdefault(at, []).append((False, Said(f"[{text}]", stored=False)))
    whole = [
        item for at in range(len(said) + 1) for item in (*placed.get(at, ()), *said[at : at + 1])
    ]
    return turns_of(whole)


def fitting(turns: list[Turn], room: int, cost: Count) -> tuple[list[Turn], int] | None:
    """The newest of `turns` that fit, and what they cost; None if not even the newest message."""
    if room < 0:
        return None
    kept: list[Turn] = []
    used = 0
    if turns and turns[-1].asked:
        newest = _fit_newest(turns[-1], room, cost)
        if newest is None:
            return None
        kept.append(newest)
        used = cost_of(newest, cost)
    if kept and kept[0] != turns[-1]:
        return kept, used
    for turn in reversed(turns[: len(turns) - len(kept)]):
        needed = cost_of(turn, cost)
        if used + needed > room:
            break
        kept.append(turn)
        used += needed
    return kept[::-1], used


def cost_of(turn: Turn, cost: Count) -> int:
    """Tokens of the turn's messages."""
    return sum(cost(message.content) for message in turn.messages)


def _fit_newest(turn: Turn, room: int, cost: Count) -> Turn | None:
    """`turn` within `room` tokens: without its oldest lines, at worst the newest one shortened.

    None if nothing of the newest line would be left.
    """
    if cost_of(turn, cost) <= room:
        return turn
    room -= cost(_joined(turn.reply)) if turn.reply else 0
    asked = _newest_lines(turn.asked, room, cost)
    if len(asked) > 1 or cost(_joined(asked)) <= room:
        return replace(turn, asked=asked)
    cut = _cut_middle(asked[0], room, cost)
    return None if cut is None else replace(turn, asked=(cut,))


def _newest_lines(lines: tuple[Said, ...], room: int, cost: Count) -> tuple[Said, ...]:
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


def _cut_middle(said: Said, room: int, cost: Count) -> Said | None:
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


def _joined(lines: Iterable[Said]) -> str:
    return "\n".join(map(str, lines))
