"""Dialogues cut where their channel fell silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from finetune.sources.dialogue import Dialogue, Said


def cut_at_silence(dialogue: Dialogue, minutes: float) -> Iterator[Dialogue]:
    """The parts of `dialogue` between which nobody spoke for longer than `minutes`.

    Where a source holds no time, nothing is cut. A reply stands behind its question, where it was
    written, so a late one does not begin a part by itself. Parts without a reply are left out.
    """
    part: list[Said] = []
    latest: float | None = None
    for said in dialogue.said:
        # Replies written late must not make the talk after them look early.
        silent = said.at is not None and latest is not None and said.at - latest > minutes * 60
        if silent and part and not (said.line.own and not part[-1].line.own):
            yield from _with_replies(dialogue, part)
            part = []
        part.append(said)
        if said.at is not None:
            latest = said.at if latest is None else max(latest, said.at)
    yield from _with_replies(dialogue, part)


def _with_replies(dialogue: Dialogue, part: list[Said]) -> Iterator[Dialogue]:
    if any(said.teachable for said in part):
        yield replace(dialogue, said=tuple(part))
