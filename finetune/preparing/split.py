"""Which dialogues are held out to check a training, so that nothing of them leaks into it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finetune.sources.dialogue import Dialogue


@dataclass(frozen=True, slots=True)
class Split:
    """The two sides; `by` says what was kept together, `note` why, where it was not channels."""

    train: tuple[Dialogue, ...]
    validation: tuple[Dialogue, ...]
    by: Literal["channel", "dialogue", "nothing"]
    note: str = ""


def split(dialogues: Sequence[Dialogue], share: float) -> Split:
    """Hold out about `share` of the channels (a file's chats count as one each), chosen by a hash.

    The hash is of the channel's key alone, so that a channel stays on its side in every later set
    as long as the sides stay in proportion: a channel with more than twice the share of the replies
    is not held out. Where no channel can be held out (there is only one, or all are too big), it is
    the newest dialogues of all; where there is only one dialogue, nothing.
    """
    everything = tuple(dialogues)
    if not share:
        return Split(everything, (), "nothing", "validation_share is 0")
    replies: dict[str, int] = {}
    for dialogue in everything:
        replies[dialogue.source] = replies.get(dialogue.source, 0) + dialogue.replies
    held = _held_out(replies, share)
    if held:
        train = tuple(one for one in everything if one.source not in held)
        return Split(train, tuple(o for o in everything if o.source in held), "channel")
    if len(everything) < 2:
        return Split(everything, (), "nothing", "there is only one dialogue")
    why = (
        "there is only one channel"
        if len(replies) == 1
        else f"each of the {len(replies)} channels holds too much of the whole"
    )
    newest = _newest(everything, share)
    return Split(
        tuple(one for at, one in enumerate(everything) if at not in newest),
        tuple(one for at, one in enumerate(everything) if at in newest),
        "dialogue",
        f"{why}, so its newest dialogues are held out" if len(replies) == 1
        else f"{why}, so the newest dialogues are held out",
    )  # fmt: skip


def _held_out(replies: dict[str, int], share: float) -> set[str]:
    if len(replies) < 2:
        return set()
    room = 2 * share * sum(replies.values())
    held: set[str] = set()
    for source in sorted(replies, key=_place):
        # At least one, if any is small enough.
        if (_place(source) < share or not held) and replies[source] <= room:
            held.add(source)
            room -= replies[source]
    return held if len(held) < len(replies) else set()


def _place(source: str) -> float:
    """Where in [0, 1) a channel stands, always the same."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _newest(dialogues: tuple[Dialogue, ...], share: float) -> set[int]:
    """Places of the newest dialogues that hold about `share` of the replies, at least one."""
    order = sorted(range(len(dialogues)), key=lambda at: (_time(dialogues[at]), at), reverse=True)
    room = share * sum(dialogue.replies for dialogue in dialogues)
    chosen: set[int] = set()
    for at in order[:-1]:
        if chosen and dialogues[at].replies > room:
            break
        chosen.add(at)
        room -= dialogues[at].replies
    return chosen


def _time(dialogue: Dialogue) -> float:
    return max((said.at for said in dialogue.said if said.at is not None), default=0.0)
