"""Whether a message gets a reply: because it was said to a character, or by the channel's mode."""

from __future__ import annotations

from dataclasses import dataclass

from bot.casting import Casting
from bot.choosing import Choosing
from bot.incoming import Incoming
from bot.limits import Limits
from bot.speaking import Speaking
from db.channels import Channel
from db.messages import Message


@dataclass(frozen=True, slots=True)
class Owed:
    """What a message gets. `unasked`: a reply that nobody waits for.

    `refusal` is told to who asked for one that they do not get.
    """

    reply: bool
    unasked: bool = False
    refusal: str = ""


class Attention:
    """Decides for every message that is heard."""

    def __init__(
        self, casting: Casting, choosing: Choosing, speaking: Speaking, limits: Limits
    ) -> None:
        self._casting = casting
        self._choosing = choosing
        self._speaking = speaking
        self._limits = limits

    def addressed(self, channel: Channel, incoming: Incoming, replied: Message | None) -> bool:
        """Whether it was said to a character: by mention, as a reply to it, or by its name."""
        if incoming.addressed or incoming.place.private:
            return True
        if replied is not None and replied.role == "character":
            return True
        return self._choosing.calls(channel, incoming.content)

    async def owed(
        self, channel: Channel, incoming: Incoming, replied: Message | None, *, busy: bool
    ) -> Owed:
        """What a message gets that was just said; `busy`: something is being written there.

        What was said to nobody here gets a reply by the channel's mode, unless it was said to
        somebody else, has no words, or these are the quiet hours.
        """
        if self.addressed(channel, incoming, replied):
            return self._within_limits(incoming, asked=True)
        to_others = incoming.to_others or (
            replied is not None and replied.author_key != incoming.author_key
        )
        if to_others or not incoming.content.strip() or self._speaking.is_quiet():
            return Owed(False)
        match self._casting.mode(channel):
            case "always":
                return self._within_limits(incoming, asked=False)
            case "sometimes":
                joins = not busy and await self._speaking.joins_in(channel)
                return Owed(joins, unasked=joins)
        return Owed(False)

    def missed(
        self, channel: Channel, incoming: Incoming, replied: Message | None, *, since: float
    ) -> Owed:
        """What a message gets that was said while the bot was away.

        A reply, if it was addressed, and not before `since` (Unix seconds).
        """
        if incoming.created_at < since or not self.addressed(channel, incoming, replied):
            return Owed(False)
        return self._within_limits(incoming, asked=True, at=incoming.created_at)

    def _within_limits(self, incoming: Incoming, *, asked: bool, at: float | None = None) -> Owed:
        """A reply, unless the person had enough of them; only who asked is told so, and once."""
        if incoming.place.kind == "terminal":
            return Owed(True)
        refusal = self._limits.take(incoming.author_key, at)
        if refusal is None:
            return Owed(True)
        return Owed(False, refusal=refusal.sentence if asked and not refusal.told else "")
