"""Threads: starting, joining, leaving, archiving them."""

from __future__ import annotations

from datetime import UTC, datetime

from .broadcast import Broadcast
from .errors import ApiError, bad_length
from .posting import Draft, Posting
from .state import (
    HAS_THREAD,
    Channel,
    ChannelKind,
    Json,
    Message,
    MessageKind,
    ReplyTo,
    Thread,
    User,
)
from .validation import length
from .waiting import Pulse
from .world import World


class Threads:
    def __init__(self, world: World, broadcast: Broadcast, posting: Posting) -> None:
        self._world = world
        self._broadcast = broadcast
        self._posting = posting

    def start(
        self,
        parent: Channel,
        creator: User,
        payload: Json,
        *,
        from_message: Message | None = None,
        kind: int = ChannelKind.PUBLIC_THREAD,
        announce: bool = True,
    ) -> Channel:
        """A new thread. From a message it takes that message's id, as on Discord.

        announce: post the "started a thread" line in the parent (not for forums).
        """
        guild = parent.guild
        assert guild is not None
        name = str(payload.get("name") or "")
        if not 1 <= length(name) <= 100:
            raise bad_length("name", 1, 100)
        if from_message is not None and from_message.thread is not None:
            raise ApiError(400, 160004, "A thread has already been created for this message")
        now = datetime.now(UTC)
        channel = Channel(
            from_message.id if from_message else self._world.snowflakes.next(),
            kind,
            name,
            guild,
            parent_id=parent.id,
            slowmode=int(payload.get("rate_limit_per_user") or 0),
            pulse=Pulse(self._world.pulse),
        )
        thread = Thread(parent, creator.id, now, {creator.id: now})
        thread.auto_archive_minutes = int(payload.get("auto_archive_duration") or 1440)
        thread.invitable = bool(payload.get("invitable", True))
        thread.applied_tags = [str(tag) for tag in payload.get("applied_tags") or []]
        channel.thread = thread
        self._world.channels[channel.id] = guild.threads[channel.id] = channel
        self._broadcast.channel("THREAD_CREATE", channel, newly_created=True)
        self._broadcast.thread_members(channel, [creator.id], [])
        if from_message is not None:
            self._mark_starter(channel, from_message, creator)
        elif announce:
            self._announce(parent, channel, creator)
        return channel

    def start_in_forum(self, forum: Channel, creator: User, payload: Json, draft: Draft) -> Message:
        """A forum post: the thread, and the message that opens it, with the same id."""
        channel = self.start(forum, creator, payload, announce=False)
        draft.message_id = channel.id
        return self._posting.create(channel, creator, draft)

    def _mark_starter(self, channel: Channel, starter: Message, creator: User) -> None:
        starter.thread = channel
        starter.flags |= HAS_THREAD
        self._broadcast.message_edited(starter)
        guild_id = channel.guild.id if channel.guild else None
        self._posting.publish(
            Message(
                self._world.snowflakes.next(),
                channel,
                creator,
                kind=MessageKind.THREAD_STARTER_MESSAGE,
                reply_to=ReplyTo(starter.id, starter.channel.id, guild_id, starter),
            )
        )

    def _announce(self, parent: Channel, channel: Channel, creator: User) -> None:
        if channel.kind == ChannelKind.PRIVATE_THREAD:
            return
        guild_id = channel.guild.id if channel.guild else None
        notice = Message(
            self._world.snowflakes.next(),
            parent,
            creator,
            channel.name,
            MessageKind.THREAD_CREATED,
            reply_to=ReplyTo(channel.id, channel.id, guild_id, None),
        )
        self._posting.publish(notice)

    def add_member(self, channel: Channel, user: User) -> None:
        assert channel.thread is not None
        if user.id in channel.thread.member_since:
            return
        channel.thread.member_since[user.id] = datetime.now(UTC)
        self._broadcast.thread_members(channel, [user.id], [])

    def remove_member(self, channel: Channel, user_id: int) -> None:
        assert channel.thread is not None
        if channel.thread.member_since.pop(user_id, None) is not None:
            self._broadcast.thread_members(channel, [], [user_id])

    def edit(self, channel: Channel, payload: Json) -> None:
        """PATCH on a thread: name, archived, locked, auto_archive_duration, slow mode, tags."""
        thread = channel.thread
        assert thread is not None
        if "name" in payload:
            if not 1 <= length(payload["name"]) <= 100:
                raise bad_length("name", 1, 100)
            channel.name = payload["name"]
        channel.slowmode = int(payload.get("rate_limit_per_user", channel.slowmode) or 0)
        thread.locked = bool(payload.get("locked", thread.locked))
        thread.invitable = bool(payload.get("invitable", thread.invitable))
        if "auto_archive_duration" in payload:
            thread.auto_archive_minutes = int(payload["auto_archive_duration"])
        if "applied_tags" in payload:
            thread.applied_tags = [str(tag) for tag in payload["applied_tags"] or []]
        if "archived" in payload and bool(payload["archived"]) != thread.archived:
            thread.archived = bool(payload["archived"])
            thread.archive_changed_at = datetime.now(UTC)
        self._broadcast.channel("THREAD_UPDATE", channel)

    def wake(self, channel: Channel, author: User) -> None:
        """Speaking in a thread reopens an archived one and makes the speaker a member."""
        thread = channel.thread
        if thread is None:
            return
        if thread.archived:
            self.edit(channel, {"archived": False})
        self.add_member(channel, author)
