"""What is said without being logged: known while the talk lasts, in this process, and then gone.

A person, a channel or a server may opt out of logging. What is said to a character there is still
answered. It is stored until it is answered, so that a crash does not lose it, and then deleted
together with the reply. For some minutes both are kept here, so that a conversation is one; a
restart forgets them. What is said to nobody is not kept at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bot.attention import Owed
from bot.incoming import Incoming
from bot.plain_text import display_name
from config import PrivacySettings
from db.channels import Channel
from db.database import Database, DatabaseError
from db.messages import Message

log = logging.getLogger(__name__)

_MOST_LINES = 200  # of one channel


@dataclass(slots=True)
class _Talk:
    """The newest lines of one channel that are not logged, oldest first."""

    lines: list[Message] = field(default_factory=list)
    at: float = 0.0  # when the last of them came


class Passing:
    """Stores what people say, for good or in passing. Use it from one event loop."""

    def __init__(
        self,
        settings: PrivacySettings,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lasting = settings.unlogged_minutes * 60
        self._database = database
        self._unlogged = database.unlogged
        self._messages = database.messages
        self._clock = clock
        self._talks: dict[int, _Talk] = {}

    async def applies(self, channel: Channel, author_key: str) -> bool:
        """Whether what this person says in this channel is not logged. Raises `DatabaseError`."""
        return bool(await self._unlogged.reasons(channel, author_key))

    async def remember(
        self,
        channel: Channel,
        incoming: Incoming,
        content: str,
        replied: Message | None,
        owed: Owed,
    ) -> Message | None:
        """Store what was said; None for what is neither logged nor answered.

        Raises `DatabaseError`.
        """
        passing = await self.applies(channel, incoming.author_key)
        if passing and not owed.reply and not owed.refusal:
            await self.unheard(channel, incoming)
            return None
        if incoming.post_id is not None:
            # Discord may tell of a post twice. One that is stored stays what it is, and one that
            # has passed is not answered again.
            if any(incoming.post_id in line.post_ids for line in self._known(channel.id)):
                return None
            if stored := await self._messages.by_post(incoming.post_id):
                return stored
        async with self._database.transaction():
            message = await self._messages.add_user(
                channel.id,
                author_key=incoming.author_key,
                author_name=display_name(incoming.author_name),
                content=content,
                created_at=incoming.created_at,
                post_id=incoming.post_id,
                reply_to=replied.id if replied is not None else None,
                owed=owed.reply,
                unasked=owed.unasked,
            )
            if not passing:
                return message
            await self._unlogged.mark(message.id)
            return replace(message, passing=True)

    async def unheard(self, channel: Channel, incoming: Incoming) -> None:
        """Keep nothing of what was said but that a restart need not read it again."""
        if incoming.post_id is not None:
            await self._unlogged.heard(channel.id, incoming.post_id)

    async def may_edit(self, channel: Channel, author_key: str, post_id: int) -> bool:
        """Whether a person's new words may take the old ones' place in the memory."""
        stored = await self._messages.by_post(post_id)
        if stored is None or stored.passing:
            return True
        return not await self.applies(channel, author_key)

    async def ended(self, question: Message | None) -> None:
        """A question was dealt with; where it only passes, that was it. A failure is logged."""
        if question is None or not question.passing:
            return
        try:
            await self.settle(question)
        except DatabaseError as error:
            log.error("Message %d stays until the next start: %s", question.id, error)

    async def settle(self, message: Message) -> None:
        """The message in passing has its replies, or will get none: out of the memory with both.

        Nothing is known of what was deleted meanwhile. Raises `DatabaseError`.
        """
        gone = await self._unlogged.let_go(message.id)
        if message.id not in {line.id for line in gone}:
            return
        talk = self._talks.setdefault(message.channel_id, _Talk())
        if self._is_over(talk):
            talk.lines = []
        talk.lines = [*talk.lines, *(line for line in gone if line.content)][-_MOST_LINES:]
        talk.at = self._clock()

    async def says(self, channel: Channel, message: Message, author_key: str) -> Message:
        """A person puts words into a character's mouth: not logged, where theirs are not.

        Call it in the transaction that stores the message, and `settle` once it is shown.
        """
        if not await self.applies(channel, author_key):
            return message
        await self._unlogged.mark(message.id)
        return replace(message, passing=True)

    def woven(
        self, history: list[Message], channel: Channel, question: Message | None, limit: int
    ) -> list[Message]:
        """`history`, which ends with `question`, with the lines between that are not logged.

        None: it ends with what was said last. Both begin behind `channel.scene_start`; the newest
        `limit` lines are kept.
        """
        lines = self._known(channel.id)
        if not lines:
            return history
        there = {message.id for message in history}
        between = [
            line
            for line in lines
            if line.place > channel.scene_start
            and (question is None or (line.place, line.id) <= (question.place, question.id))
            and line.id not in there
        ]
        return sorted([*history, *between], key=lambda line: (line.place, line.id))[-limit:]

    def edited(self, post_id: int, content: str) -> None:
        """Follow an edit of a line that is known here only."""
        for talk in self._talks.values():
            talk.lines = [
                replace(line, content=content)
                if line.role == "user" and post_id in line.post_ids
                else line
                for line in talk.lines
            ]

    def deleted(self, post_id: int) -> None:
        """Follow the deletion of a post; what it was part of is known no more."""
        for talk in self._talks.values():
            talk.lines = [line for line in talk.lines if post_id not in line.post_ids]

    def forget(self, author_key: str) -> None:
        """Forget what a person said, and the replies to it, which may quote it."""
        for talk in self._talks.values():
            said = {line.id for line in talk.lines if line.author_key == author_key}
            talk.lines = [
                line for line in talk.lines if line.id not in said and line.reply_to not in said
            ]

    def forget_channel(self, channel: Channel) -> None:
        """Forget a channel's lines: another scene begins there, or others take part in it."""
        self._talks.pop(channel.id, None)

    def expire(self) -> list[int]:
        """Forget talks that are over; returns the ids of their channels."""
        over = [channel_id for channel_id, talk in self._talks.items() if self._is_over(talk)]
        for channel_id in over:
            del self._talks[channel_id]
        return over

    def _known(self, channel_id: int) -> Sequence[Message]:
        talk = self._talks.get(channel_id)
        return talk.lines if talk is not None and not self._is_over(talk) else ()

    def _is_over(self, talk: _Talk) -> bool:
        return talk.at <= self._clock() - self._lasting
