"""Whether a character speaks where nobody asked it to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from datetime import time as time_of_day

from config import BotSettings
from db.channels import Channel
from db.database import Database

_FORGOTTEN = 4.0  # half-lives after which a channel counts no more as joined


class Speaking:
    """Decides for messages that were said to nobody here.

    `chance` gives numbers from 0 to 1. Joining in is likeliest right after a character spoke, and
    each `sometimes_half_life_seconds` of its silence halves that, as oobabot does in steps; it
    never happens where the last thing a character said was unasked already.
    """

    def __init__(
        self,
        settings: BotSettings,
        database: Database,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._speech = database.speech
        self._messages = database.messages
        self._chance = chance
        self._clock = clock
        self._joined: dict[int, float] = {}  # channels in which it spoke unasked, and when

    def is_quiet(self) -> bool:
        """Whether these are the quiet hours, by the machine's clock."""
        if not self._settings.quiet_hours:
            return False
        begin, end = map(time_of_day.fromisoformat, self._settings.quiet_hours.split("-"))
        now = datetime.fromtimestamp(self._clock()).time()
        return begin <= now < end if begin <= end else now >= begin or now < end

    async def joins_in(self, channel: Channel) -> bool:
        """Whether a character answers, unasked, what was just said in `channel`."""
        if self.is_quiet() or not self._has_room(channel.id):
            return False
        newest = await self._speech.newest(channel.id)
        if newest is None:
            return False
        if newest.reply_to is not None:
            question = await self._messages.get(newest.reply_to)
            if question is not None and question.unasked:
                return False
        silence = max(0.0, self._clock() - newest.created_at)
        halved = 0.5 ** (silence / self._settings.sometimes_half_life_seconds)
        if self._chance() >= self._settings.sometimes_chance * halved:
            return False
        self._joined[channel.id] = self._clock()
        return True

    def _has_room(self, channel_id: int) -> bool:
        """Whether it may speak unasked in this channel beside those where it lately did."""
        oldest = self._clock() - _FORGOTTEN * self._settings.sometimes_half_life_seconds
        self._joined = {id: at for id, at in self._joined.items() if at >= oldest}
        return channel_id in self._joined or len(self._joined) < self._settings.sometimes_channels
