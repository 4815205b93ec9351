"""What people may do with a reply once it is there, as functions that know no Discord.

Buttons, slash commands and terminal lines call the same ones. Only the newest reply of a scene can
be changed, by who asked for it or by somebody who may change the channel; everybody may vote.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial

from bot.answers import Answer
from bot.casting import Casting
from bot.errors import CommandError
from bot.incoming import Place
from bot.plain_text import single_spaced, well_formed
from bot.reply import Running
from bot.splitting import split
from bot.stage import DeliveryError
from bot.turn import Turns
from db.channels import Channel
from db.database import Database
from db.messages import Message

log = logging.getLogger(__name__)

MOST_TEXT = 8000  # characters of an edit
MOST_EXCHANGES = 50  # taken back at once
_QUOTED = 60


@dataclass(frozen=True, slots=True)
class Person:
    """Who wants something done. `may_switch`: they may change the channel's settings."""

    key: str
    may_switch: bool


class Outdated(CommandError):
    """Somebody wants to change a reply that is not the newest one any more."""


class Controls:
    """Regenerating, swiping, continuing, editing, taking back, stopping, voting."""

    def __init__(self, database: Database, casting: Casting, turns: Turns) -> None:
        self._database = database
        self._messages = database.messages
        self._rewriting = database.rewriting
        self._feedback = database.feedback
        self._casting = casting
        self._turns = turns

    async def regenerate(self, place: Place, who: Person, reply_id: int | None = None) -> Answer:
        """Write the newest reply once more; the versions so far stay and can be swiped to."""
        return await self._write(place, who, reply_id, going_on=False)

    async def go_on(self, place: Place, who: Person, reply_id: int | None = None) -> Answer:
        """Let the newest reply go on where it ends."""
        return await self._write(place, who, reply_id, going_on=True)

    async def _write(
        self, place: Place, who: Person, reply_id: int | None, *, going_on: bool
    ) -> Answer:
        channel = await self._turns.channel(place)
        reply = await self._changeable(channel, who, reply_id)
        if reply.reply_to is None:
            raise CommandError("That answers nothing that is still there, so it stays as it is.")
        if channel.kind != "terminal" and (refusal := self._turns.limits.take(who.key)):
            raise CommandError(refusal.sentence)

        async def work(running: Running) -> None:
            there = await self._messages.get(reply.id)
            if there is not None:
                await self._turns.rewrites.write(channel, there, running, going_on=going_on)

        running = Running(reply.reply_to, reply_id=reply.id)
        self._turns.begin(channel, running, work, model=True).add_done_callback(_tell_operator)
        return Answer("")

    async def swipe(
        self, place: Place, who: Person, step: int, reply_id: int | None = None
    ) -> Answer:
        """Show the version before (-1) or behind (1) the one that is shown, and remember that."""
        channel = await self._turns.channel(place)

        async def work(_: Running) -> Answer:
            reply = await self._changeable(channel, who, reply_id)
            variants = await self._feedback.variants(reply.id)
            at = next((i for i, variant in enumerate(variants) if variant.chosen), 0)
            if not 0 <= at + step < max(len(variants), 1):
                raise CommandError(
                    "There is no later version; /regenerate writes one."
                    if step > 0
                    else "There is no earlier version."
                )
            changed = await self._feedback.choose(variants[at + step].id)
            undo = partial(self._feedback.choose, variants[at].id)
            try:
                await self._turns.rewrites.show(channel, changed)
            except DeliveryError as error:
                await undo()
                raise _not_shown(error) from None
            await self._turns.greetings.swiped(channel, changed, step, len(variants))
            return Answer(f"Version {at + step + 1} of {len(variants)}.")

        return await self._turns.begin(channel, Running(0), work)

    async def text(self, place: Place, who: Person, reply_id: int | None = None) -> Message:
        """The newest reply, for somebody who may edit it."""
        return await self._changeable(await self._turns.channel(place), who, reply_id)

    async def edit(
        self, place: Place, who: Person, text: str, reply_id: int | None = None
    ) -> Answer:
        """Let the newest reply say `text` instead."""
        channel = await self._turns.channel(place)
        text = _said(text)

        async def work(_: Running) -> Answer:
            reply = await self._changeable(channel, who, reply_id)
            changed = await self._rewriting.amend(reply.id, text, time.time())
            try:
                await self._turns.rewrites.show(channel, changed)
            except DeliveryError as error:
                await self._rewriting.amend(reply.id, reply.content, reply.edited_at or time.time())
                raise _not_shown(error) from None
            return Answer("Edited.")

        return await self._turns.begin(channel, Running(0), work)

    async def undo(self, place: Place, who: Person, reply_id: int | None = None) -> Answer:
        """Take the newest reply back, out of the channel and out of the memory."""
        channel = await self._turns.channel(place)

        async def work(_: Running) -> Answer:
            reply = await self._changeable(channel, who, reply_id)
            await self._remove(channel, reply.post_ids)
            await self._rewriting.take_back(reply.id)
            await self._show_newest(channel)
            return Answer(f"Taken back: {_quoted(reply.content)}")

        return await self._turns.begin(channel, Running(0), work)

    async def rewind(self, place: Place, who: Person, exchanges: int) -> Answer:
        """Take the last exchanges back: the questions, the replies, and what was said behind them.

        Characters' posts are removed; people's stay where they are, and are not remembered.
        """
        _require_switching(who)
        if not 1 <= exchanges <= MOST_EXCHANGES:
            raise CommandError(f"Say how many exchanges to take back, from 1 to {MOST_EXCHANGES}.")
        channel = await self._turns.channel(place)

        async def work(_: Running) -> Answer:
            messages = await self._rewriting.since(channel, exchanges)
            if not messages:
                raise CommandError("There is nothing to take back here.")
            replies = [message for message in messages if message.role == "character"]
            for reply in reversed(replies):
                await self._remove(channel, reply.post_ids)
            await self._rewriting.rewind([message.id for message in messages])
            await self._show_newest(channel)
            return Answer(
                f"{len(messages)} messages are taken back: nothing is remembered from"
                f" {_quoted(messages[0].content)} on.",
                public=True,
            )

        return await self._turns.begin(channel, Running(0), work)

    async def say(self, place: Place, who: Person, text: str) -> Answer:
        """Put words into the character's mouth."""
        _require_switching(who)
        channel = await self._turns.channel(place)
        character = self._casting.character(channel)
        text = _said(text)

        async def work(_: Running) -> Answer:
            async with self._database.transaction():
                said = await self._messages.add_said(
                    channel.id,
                    persona=character.id,
                    persona_name=character.name,
                    content=text,
                    created_at=time.time(),
                )
                said = await self._turns.passing.says(channel, said, who.key)
            try:
                await self._turns.rewrites.say(channel, said)
            except DeliveryError as error:
                await self._rewriting.take_back(said.id)
                raise _not_shown(error) from None
            await self._turns.passing.ended(said)
            return Answer(f"{character.name} has said it.")

        return await self._turns.begin(channel, Running(0), work)

    async def stop(self, place: Place, who: Person, reply_id: int | None = None) -> Answer:
        """End the reply that is being written; what was shown of it stays."""
        channel = await self._turns.channel(place)
        running = self._turns.running(channel)
        if running is None and reply_id is None:
            raise CommandError("No reply is being written here.")
        if running is not None and reply_id in (None, running.reply_id):
            _require_asker(who, await self._messages.get(running.question_id))
            if self._turns.stop(channel, running):  # it may have ended meanwhile
                return Answer("Stopped.")
        raise CommandError("That reply is not being written any more.")

    async def vote(
        self, place: Place, who: Person, liked: bool, reply_id: int | None = None
    ) -> Answer:
        """A 👍 or 👎 for a reply, the newest one if none is named; the same once more undoes it."""
        channel = await self._turns.channel(place)
        if reply_id is None:
            reply = await self._rewriting.newest_reply(channel)
        else:
            reply = await self._messages.get(reply_id)
        if reply is None or reply.channel_id != channel.id or reply.role != "character":
            raise CommandError("There is no such reply here (any more).")
        before = await self._rewriting.vote_of(reply.id, who.key)
        now = None if before is liked else liked
        await self._feedback.vote(reply.id, voter_key=who.key, liked=now, created_at=time.time())
        mark = "👍" if liked else "👎"
        return Answer(f"{mark} noted." if now is not None else f"{mark} taken back.")

    async def reacted(self, post_id: int, voter_key: str, *, liked: bool, added: bool) -> None:
        """A reaction 👍 or 👎 under a character's post is a vote, and its removal takes it back."""
        reply = await self._messages.by_post(post_id)
        if reply is None or reply.role != "character":
            return
        if not added and await self._rewriting.vote_of(reply.id, voter_key) is not liked:
            return
        await self._feedback.vote(
            reply.id,
            voter_key=voter_key,
            liked=liked if added else None,
            created_at=time.time(),
        )

    async def changed_elsewhere(self, post_id: int, content: str) -> None:
        """Somebody else, who holds the webhook, edited a character's post: that is remembered."""
        reply = await self._messages.by_post(post_id)
        if reply is None or reply.role != "character" or reply.state != "complete":
            return
        pieces, at = split(reply.content), reply.post_ids.index(post_id)
        if len(pieces) != len(reply.post_ids):
            log.warning("An edit of post %d cannot be told from the rest of its reply.", post_id)
            return
        if pieces[at].strip() != content.strip():
            pieces[at] = well_formed(content).strip()
            await self._rewriting.amend(reply.id, "\n\n".join(pieces).strip(), time.time())

    async def _changeable(self, channel: Channel, who: Person, reply_id: int | None) -> Message:
        """The newest reply, if that is the one meant and `who` may change it."""
        newest = await self._rewriting.newest_reply(channel)
        if reply_id is not None and (newest is None or newest.id != reply_id):
            gone = await self._messages.get(reply_id) is None
            raise Outdated(
                "That reply is gone."
                if gone
                else "Only the newest reply can be changed; that one stays as it is."
            )
        if newest is None:
            raise CommandError("No character has said anything here yet.")
        asked = newest.reply_to
        _require_asker(who, await self._messages.get(asked) if asked is not None else None)
        return newest

    async def _remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        try:
            await self._turns.rewrites.remove(channel, posts)
        except DeliveryError as error:
            raise _not_shown(error) from None

    async def _show_newest(self, channel: Channel) -> None:
        """Give the reply that is the newest now its buttons; nothing is lost if that fails."""
        newest = await self._rewriting.newest_reply(channel)
        if newest is not None and newest.post_ids:
            await self._turns.rewrites.refresh(channel, newest)


def _tell_operator(written: asyncio.Future[None]) -> None:
    """Log what ended a rewriting that nobody waits for."""
    if not written.cancelled() and (error := written.exception()) is not None:
        log.error("A reply could not be rewritten.", exc_info=error)


def _require_asker(who: Person, question: Message | None) -> None:
    if who.may_switch or (question is not None and question.author_key == who.key):
        return
    raise CommandError("Only who asked for that reply, or who may change this channel, may do so.")


def _require_switching(who: Person) -> None:
    if not who.may_switch:
        raise CommandError("That is for those who may change this channel's settings.")


def _said(text: str) -> str:
    text = well_formed(text).strip()
    if not 0 < len(text) <= MOST_TEXT:
        raise CommandError(f"The text must have 1 to {MOST_TEXT} characters, not {len(text)}.")
    return text


def _quoted(text: str) -> str:
    short = single_spaced(text)
    return f"“{short if len(short) <= _QUOTED else short[: _QUOTED - 1] + '…'}”"


def _not_shown(error: DeliveryError) -> CommandError:
    return CommandError(f"That cannot be shown here now, so nothing changes: {error}")
