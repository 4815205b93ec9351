"""Guilds and channels as tests hold them: to furnish, to read, to wait on."""

# ruff: noqa: ASYNC109 - tests name their own timeouts, and get an AssertionError that says why

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from .actors import Actor
from .invocation import unwrap
from .permissions import PermissionsLike, permission_bits
from .stage import Stage
from .state import Channel, ChannelKind, Guild, Message, Overwrite, Role, Typing, User, Webhook

#: Whose message: a person, an account, an id, or the name that a webhook shows.
By = Actor | User | int | str | None


def written_by(message: Message, by: By) -> bool:
    if by is None:
        return True
    if isinstance(by, str):
        return by in (message.author.display_name, message.author.username)
    user_id = by if isinstance(by, int) else by.id
    return message.author.id == user_id


class ChannelHandle:
    """A channel, a thread or a direct message."""

    def __init__(self, stage: Stage, handles: Handles, channel: Channel) -> None:
        self._stage = stage
        self._handles = handles
        self.state = channel

    @property
    def id(self) -> int:
        return self.state.id

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def mention(self) -> str:
        return self.state.mention

    def __repr__(self) -> str:
        return f"<ChannelHandle {self.id} {self.name!r}>"

    # -- reading ---------------------------------------------------------------------------------

    @property
    def messages(self) -> list[Message]:
        """What everyone can read here now, oldest first."""
        return self.state.visible()

    @property
    def log(self) -> list[Message]:
        """Every message there ever was, deleted and ephemeral ones too, oldest first."""
        return list(self.state.log.values())

    def messages_for(self, reader: Actor) -> list[Message]:
        """What that person can read: with the ephemeral messages meant for them."""
        return self.state.visible(reader.id)

    def by(self, who: By) -> list[Message]:
        """The visible messages of one author."""
        return [message for message in self.messages if written_by(message, who)]

    @property
    def typing(self) -> list[Typing]:
        return self.state.typing

    @property
    def threads(self) -> list[ChannelHandle]:
        return [self._handles.channel(t) for t in self._stage.world.threads_of(self.state)]

    @property
    def webhooks(self) -> list[Webhook]:
        hooks = self._stage.world.webhooks.values()
        return [webhook for webhook in hooks if webhook.channel is self.state]

    # -- waiting; each raises AssertionError after `timeout` seconds ----------------------------

    async def wait_message(
        self,
        *,
        by: By = None,
        after: Message | int | None = None,
        containing: str | None = None,
        reply_to: Message | None = None,
        where: Callable[[Message], bool] | None = None,
        timeout: float = 5.0,
    ) -> Message:
        """The first visible message that fits all that is asked for.

        after: only later messages than this one. `where` is asked again whenever anything in the
        channel changes, so it may look at the content of a message that is still being edited.
        """
        beyond = after.id if isinstance(after, Message) else after or 0

        def found() -> Message | None:
            for message in reversed(self.state.log.values()):
                if message.id <= beyond:
                    break
                if fits(message):
                    candidates.append(message)
            first = candidates[-1] if candidates else None
            candidates.clear()
            return first

        def fits(message: Message) -> bool:
            return (
                not message.deleted
                and message.visible_to is None
                and written_by(message, by)
                and (containing is None or containing in message.content)
                and (
                    reply_to is None
                    or (message.reply_to is not None and message.reply_to.target is reply_to)
                )
                and (where is None or where(message))
            )

        candidates: list[Message] = []
        return await self.state.pulse.until(
            found, timeout, lambda: f"no such message in {self}; last: {self.messages[-5:]}"
        )

    async def wait_until(
        self, condition: Callable[[], Any], timeout: float = 5.0, what: str = "the condition"
    ) -> Any:
        """The first true result of `condition`, asked whenever something changes here."""
        return await self.state.pulse.until(
            condition, timeout, lambda: f"{what}; last: {self.messages[-5:]}"
        )

    async def wait_content(
        self, message: Message, wanted: str | Callable[[str], bool], timeout: float = 5.0
    ) -> Message:
        """Until that message contains a text, or its content satisfies a predicate."""

        def satisfied() -> bool:
            if isinstance(wanted, str):
                return wanted in message.content
            return wanted(message.content)

        await self.state.pulse.until(satisfied, timeout, lambda: f"{wanted!r} in {message}")
        return message

    async def wait_settled(
        self, message: Message, *, quiet: float = 0.5, timeout: float = 10.0
    ) -> Message:
        """Until that message has not changed for `quiet` seconds (and is no longer loading)."""
        pulse = self.state.pulse
        try:
            async with asyncio.timeout(timeout):
                while True:
                    before = len(message.history)

                    def changed(before: int = before) -> bool:
                        return len(message.history) != before or message.deleted

                    try:
                        await pulse.until(changed, quiet, str)
                    except AssertionError:
                        if not message.loading:
                            return message
                    assert not message.deleted, f"{message} was deleted"
        except TimeoutError:
            raise AssertionError(f"{message} did not settle within {timeout:g} s") from None

    async def wait_deleted(self, message: Message, timeout: float = 5.0) -> None:
        await self.state.pulse.until(
            lambda: message.deleted, timeout, lambda: f"{message} is still there"
        )

    async def wait_reaction(
        self, message: Message, emoji: str, *, by: Actor | User | None = None, timeout: float = 5.0
    ) -> None:
        def there() -> bool:
            reacted = message.reactions.get(emoji, [])
            return bool(reacted) if by is None else by.id in reacted

        await self.state.pulse.until(
            there, timeout, lambda: f"no {emoji} on {message}, but {message.reactions}"
        )

    async def wait_typing(
        self, *, by: Actor | User | None = None, count: int = 1, timeout: float = 5.0
    ) -> Typing:
        """The count-th time that someone (the bot, if not said) typed here, counted from 1."""
        user_id = (by or self._stage.world.bot).id

        def typed() -> Typing | None:
            seen = [typing for typing in self.typing if typing.user_id == user_id]
            return seen[count - 1] if len(seen) >= count else None

        return await self.state.pulse.until(typed, timeout, lambda: f"no typing in {self}")

    # -- furnishing ------------------------------------------------------------------------------

    def overwrite(
        self, target: Actor | User | Role, *, allow: PermissionsLike = 0, deny: PermissionsLike = 0
    ) -> None:
        """Sets what this channel allows and denies to a role or person; CHANNEL_UPDATE follows."""
        record = unwrap(target)
        kind = 0 if isinstance(record, Role) else 1
        self.state.overwrites[record.id] = Overwrite(
            record.id, kind, permission_bits(allow), permission_bits(deny)
        )
        self._stage.broadcast.channel("CHANNEL_UPDATE", self.state)

    def deny_bot(self, *permissions: str) -> None:
        """Takes permissions from the bot in this channel, e.g. "send_messages"."""
        self.overwrite(self._stage.world.bot, deny=permissions)

    def add_webhook(self, name: str, creator: Actor | None = None) -> Webhook:
        """A webhook that someone else made (by default the guild's owner)."""
        guild = self.state.guild
        assert guild is not None, "a direct message has no webhooks"
        user = creator.state if creator else guild.owner
        webhook = self._stage.world.add_webhook(self.state, name, user)
        self._stage.broadcast.webhooks_changed(self.state)
        return webhook

    def delete_webhooks(self) -> None:
        """Somebody removes every webhook of this channel; what they posted stays."""
        for webhook in self.webhooks:
            del self._stage.world.webhooks[webhook.id]
        self._stage.broadcast.webhooks_changed(self.state)

    def edit_by_webhook(self, message: Message, content: str) -> None:
        """Another program that holds the webhook of this post edits it."""
        assert message.webhook_id is not None, f"{message} is no webhook's"
        self._stage.posting.edit(message, {"content": content})

    def delete(self) -> None:
        """Removes the channel (and its threads), as an admin does."""
        for thread in list(self._stage.world.threads_of(self.state)):
            self._stage.world.remove_channel(thread)
        self._stage.world.remove_channel(self.state)
        if self.state.thread is not None:
            self._stage.broadcast.thread_deleted(self.state)
        else:
            self._stage.broadcast.channel("CHANNEL_DELETE", self.state)


class GuildHandle:
    """A server that the bot is in."""

    def __init__(self, stage: Stage, handles: Handles, guild: Guild) -> None:
        self._stage = stage
        self._handles = handles
        self.state = guild

    @property
    def id(self) -> int:
        return self.state.id

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def everyone(self) -> Role:
        return self.state.roles[self.state.id]

    @property
    def channels(self) -> list[ChannelHandle]:
        return [self._handles.channel(channel) for channel in self.state.channels.values()]

    def __repr__(self) -> str:
        return f"<GuildHandle {self.id} {self.name!r}>"

    def add_channel(
        self,
        name: str,
        *,
        kind: ChannelKind = ChannelKind.TEXT,
        topic: str | None = None,
        nsfw: bool = False,
        category: ChannelHandle | None = None,
        private: bool = False,
    ) -> ChannelHandle:
        """A new channel. private: hidden from everyone but the owner and administrators."""
        channel = self._stage.world.add_channel(self.state, name, kind)
        channel.topic, channel.nsfw = topic, nsfw
        channel.parent_id = category.id if category else None
        if private:
            hidden = permission_bits("view_channel")
            channel.overwrites[self.id] = Overwrite(self.id, 0, 0, hidden)
        self.state.channels[channel.id] = channel
        self._stage.broadcast.channel("CHANNEL_CREATE", channel)
        return self._handles.channel(channel)

    def set_updates_channel(self, channel: ChannelHandle) -> None:
        """Where moderators get notices; before the bot connects."""
        self.state.updates_channel_id = channel.id

    def add_role(self, name: str, permissions: PermissionsLike = 0) -> Role:
        role = self._stage.world.add_role(self.state, name, permission_bits(permissions))
        self._stage.broadcast.role("GUILD_ROLE_CREATE", self.state, role)
        return role

    def join(
        self,
        actor: Actor,
        *,
        roles: Iterable[Role] = (),
        permissions: PermissionsLike = None,
        nick: str | None = None,
    ) -> Actor:
        """Makes someone a member. permissions: names or bits, through a role of their own."""
        member = self._stage.world.join(self.state, actor.state, nick)
        member.role_ids |= {role.id for role in roles}
        bits = permission_bits(permissions)
        if bits:
            member.role_ids.add(self.add_role(f"{actor.name}'s role", bits).id)
        self._stage.broadcast.member("GUILD_MEMBER_ADD", self.state, member)
        return actor

    def leave(self, actor: Actor) -> None:
        member = self.state.members.pop(actor.id)
        self._stage.broadcast.member("GUILD_MEMBER_REMOVE", self.state, member)

    def give(self, actor: Actor, role: Role) -> None:
        self._set_roles(actor, lambda ids: ids | {role.id})

    def take(self, actor: Actor, role: Role) -> None:
        self._set_roles(actor, lambda ids: ids - {role.id})

    def _set_roles(self, actor: Actor, change: Callable[[set[int]], set[int]]) -> None:
        member = self.state.members[actor.id]
        member.role_ids = change(member.role_ids)
        self._stage.broadcast.member("GUILD_MEMBER_UPDATE", self.state, member)

    def set_permissions(self, role: Role, permissions: PermissionsLike) -> None:
        role.permissions = permission_bits(permissions)
        self._stage.broadcast.role("GUILD_ROLE_UPDATE", self.state, role)

    @property
    def bot_role(self) -> Role:
        return next(role for role in self.state.roles.values() if role.managed_by is not None)

    def grant_bot(self, *permissions: str) -> None:
        """Adds to what the bot's own role grants, e.g. "manage_channels"."""
        bits = self.bot_role.permissions | permission_bits(permissions)
        self.set_permissions(self.bot_role, bits)

    def revoke_bot(self, *permissions: str) -> None:
        """Takes from the bot's own role and from @everyone, e.g. "manage_webhooks"."""
        bits = permission_bits(permissions)
        for role in (self.bot_role, self.everyone):
            self.set_permissions(role, role.permissions & ~bits)

    def kick_bot(self) -> None:
        """The bot is removed from the server."""
        self._stage.broadcast.guild_left(self.state)
        del self.state.members[self._stage.world.bot.id]

    def go_unavailable(self) -> None:
        """An outage of this guild, until `come_back`."""
        self.state.available = False
        self._stage.broadcast.guild_left(self.state, outage=True)

    def come_back(self) -> None:
        self.state.available = True
        self._stage.broadcast.guild_available(self.state)


class Handles:
    """One handle for each record, so that handles can be compared."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._channels: dict[int, ChannelHandle] = {}
        self._guilds: dict[int, GuildHandle] = {}
        self._actors: dict[int, Actor] = {}

    def channel(self, channel: Channel) -> ChannelHandle:
        if channel.id not in self._channels:
            self._channels[channel.id] = ChannelHandle(self._stage, self, channel)
        return self._channels[channel.id]

    def guild(self, guild: Guild) -> GuildHandle:
        if guild.id not in self._guilds:
            self._guilds[guild.id] = GuildHandle(self._stage, self, guild)
        return self._guilds[guild.id]

    def actor(self, user: User) -> Actor:
        if user.id not in self._actors:
            self._actors[user.id] = Actor(self._stage, self, user)
        return self._actors[user.id]
