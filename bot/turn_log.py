"""One line a turn: what was asked of the model, how long it took, and what came of it.

The line holds no word of what was said, unless `log.messages` asks for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from db.messages import Message
from inference.log_lines import FIELDS
from inference.types import FinishReason, Usage
from persona_prompts.identity.measures import ReplyMeasures

log = logging.getLogger(__name__)

Kind = Literal["reply", "regenerated", "continued"]
# Beside what the model says: never asked, since nothing could be; taken away while it was written;
# not to be shown there at all.
TurnEnd = FinishReason | Literal["refused", "gone", "undelivered"]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a reply took: seconds since the model was asked for it. None: not known.

    `waited` is what passed before the model took it up, earlier attempts included.
    """

    waited: float | None = None
    first_token: float | None = None  # until the first words were handed on to be shown
    total: float | None = None


UNTIMED = Timing()


class Stopwatch:
    """Times one reply, by a clock that never jumps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._first: float | None = None

    def words(self) -> None:
        """There are words to be shown; only the first of them count."""
        if self._first is None:
            self._first = self._clock() - self._begun

    def read(self, usage: Usage | None) -> Timing:
        """The times of the reply that ends now and cost `usage`."""
        total = self._clock() - self._begun
        waited = max(0.0, total - usage.total_seconds) if usage is not None else None
        return Timing(waited, self._first, total)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn that has ended; `asked` and `said` are the words."""

    channel: str
    question: int
    kind: Kind
    persona: str
    adapter: str
    finish_reason: TurnEnd
    timing: Timing = UNTIMED
    usage: Usage | None = None
    asked: str = ""
    said: str = ""


Listener = Callable[[Turn, ReplyMeasures | None], None]


class TurnLog:
    """Writes the lines, and tells whoever counts turns of each."""

    def __init__(self, *, messages: bool) -> None:
        """`messages`: the lines hold what was said, too."""
        self._messages = messages
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` at the end of every turn from now on."""
        self._listeners.append(listener)

    def ended(self, turn: Turn, measures: ReplyMeasures | None = None) -> None:
        """A turn ended; `measures` of its reply where there are any."""
        words = {"asked": turn.asked, "said": turn.said} if self._messages else {}
        log.info("turn", extra={FIELDS: {**_figures(turn), **_flags(measures), **words}})
        for listener in self._listeners:
            listener(turn, measures)

    def unanswered(
        self, channel_key: str, question: Message, end: TurnEnd, persona: str = ""
    ) -> None:
        """A turn ended without a reply that could be shown."""
        asked = "" if question.passing else question.content
        self.ended(Turn(channel_key, question.id, "reply", persona, "", end, asked=asked))


def _figures(turn: Turn) -> dict[str, object]:
    usage, timing = turn.usage, turn.timing
    return {
        "channel": turn.channel,
        "question": turn.question,
        "kind": turn.kind,
        "persona": turn.persona,
        "adapter": turn.adapter,
        "finish_reason": turn.finish_reason,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "tokens": usage.completion_tokens if usage else None,
        "waited_seconds": _rounded(timing.waited),
        "first_token_seconds": _rounded(timing.first_token),
        "total_seconds": _rounded(timing.total),
    }


def _flags(measures: ReplyMeasures | None) -> dict[str, object]:
    """What the measures of identity say of the reply; nothing if it was not measured."""
    if measures is None:
        return {}
    return {
        "reply_number": measures.k,
        "words": measures.words,
        "elicited": measures.elicited,
        "introduces": measures.introduces,
        "restates": measures.restates,
        "duplicate": measures.duplicate,
        "same_opening": measures.same_opening,
        "xtr4": _rounded(measures.xtr4),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
