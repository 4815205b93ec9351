"""Who speaks in a channel beside its own character, and since when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One stay of a character in a channel's cast.

    It heard the messages whose id is greater than `since`, up to `until`; None: it is there still.
    `adapter` None: the one that it prefers.
    """

    persona: str
    since: int = 0
    until: int | None = None
    adapter: str | None = None

    def heard(self, message_id: int) -> bool:
        return self.since < message_id and (self.until is None or message_id <= self.until)


def members_to_json(members: Sequence[Member]) -> str:
    return json.dumps([asdict(member) for member in members], ensure_ascii=False)


def members_from_json(text: str) -> tuple[Member, ...]:
    return tuple(Member(**fields) for fields in json.loads(text))
