"""Lines of people who opted out, cut out of a scene with the replies that may quote them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from finetune.sources.dialogue import Said


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a scene; `character` is who of the cast said it, empty for people.

    `id` and `reply_to` are the source's own, None where it has none.
    """

    said: Said
    character: str = ""
    id: int | str | None = None
    reply_to: int | str | None = None


def agreed_parts(
    scene: Iterable[Entry], opted_out: frozenset[str]
) -> tuple[list[list[tuple[Said, str]]], int]:
    """`scene` cut where somebody of `opted_out` spoke, and how many lines are withheld.

    The next reply is withheld, whomever it answers, and so are those behind it up to a line of
    somebody who agreed: several characters may answer one message. A reply to what is withheld
    never stays.
    """
    parts: list[list[tuple[Said, str]]] = [[]]
    withheld: set[int | str | None] = set()
    count = 0
    unanswered = False  # no reply was withheld yet since somebody spoke who opted out
    answering = False  # replies know of a message that nobody may learn from
    for entry in scene:
        if entry.character:
            quotes = entry.reply_to is not None and entry.reply_to in withheld
            refused = unanswered or answering or quotes
            if unanswered:
                unanswered, answering = False, True
        else:
            refused = entry.said.author in opted_out
            unanswered, answering = unanswered or refused, False
        if refused:
            count += 1
            withheld.add(entry.id)
            parts.append([])  # what others said meanwhile stays without its reply
        else:
            parts[-1].append((entry.said, entry.character))
    return [part for part in parts if part], count
