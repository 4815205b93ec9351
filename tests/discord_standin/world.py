"""Everything that exists, how it is found, and how it comes into being (silently: no events)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

from .errors import unknown
from .permissions import BOT_ROLE
from .snowflakes import Snowflakes
from .state import (
    Attachment,
    Channel,
    ChannelKind,
    Guild,
    Member,
    Message,
    Role,
    User,
    Webhook,
)
from .waiting import Pulse


class World:
    """The accounts, guilds, channels and webhooks of one stand-in, and its bot."""

    def __init__(self, bot_name: str) -> None:
        self.snowflakes = Snowflakes()
        self.pulse = Pulse()
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.direct_messages: dict[int, Channel] = {}  # by the other side's user id
        self.webhooks: dict[int, Webhook] = {}
        self.attachments: dict[int, Attachment] = {}
        self.owner = self.add_user("owner", "Owner")
        self.bot = self.add_user(bot_name, None, bot=True)
        self.bot.discriminator = "0001"
        # Newer applications share their id with their bot user; older ones do not. Keeping them
        # apart catches whoever mixes the two up.
        self.application_id = self.snowflakes.next()

    # -- making ---------------------------------------------------------------------------------

    def add_user(self, username: str, display_name: str | None, *, bot: bool = False) -> User:
        user = User(self.snowflakes.next(), username, display_name or username, bot=bot)
        self.users[user.id] = user
        return user

    def add_guild(self, name: str, owner: User, guild_id: int) -> Guild:
        guild = Guild(guild_id, name, owner)
        self.guilds[guild.id] = guild
        self.join(guild, owner)
        bot_role = self.add_role(guild, self.bot.username, BOT_ROLE)
        bot_role.managed_by = self.bot.id
        self.join(guild, self.bot).role_ids.add(bot_role.id)
        return guild

    def add_role(self, guild: Guild, name: str, permissions: int) -> Role:
        role = Role(self.snowflakes.next(), name, permissions, position=len(guild.roles))
        guild.roles[role.id] = role
        return role

    def join(self, guild: Guild, user: User, nick: str | None = None) -> Member:
        member = Member(user, datetime.now(UTC), nick)
        guild.members[user.id] = member
        return member

    def add_channel(
        self, guild: Guild, name: str, kind: int = ChannelKind.TEXT, channel_id: int | None = None
    ) -> Channel:
        channel = Channel(
            channel_id or self.snowflakes.next(),
            kind,
            name,
            guild,
            position=len(guild.channels),
            pulse=Pulse(self.pulse),
        )
        self.channels[channel.id] = channel
        return channel

    def direct_message(self, user: User) -> Channel:
        """The direct message channel between that user and the bot, made when first asked for."""
        channel = self.direct_messages.get(user.id)
        if channel is None:
            channel = Channel(
                self.snowflakes.next(),
                ChannelKind.DM,
                "",
                recipients=[self.bot, user],
                pulse=Pulse(self.pulse),
            )
            self.channels[channel.id] = self.direct_messages[user.id] = channel
        return channel

    def add_webhook(
        self, channel: Channel, name: str, creator: User, avatar: str | None = None
    ) -> Webhook:
        webhook = Webhook(
            self.snowflakes.next(),
            secrets.token_urlsafe(51),
            channel,
            name,
            creator,
            self.application_id if creator is self.bot else None,
            avatar,
        )
        self.webhooks[webhook.id] = webhook
        return webhook

    def remove_channel(self, channel: Channel) -> None:
        channel.deleted = True
        self.channels.pop(channel.id, None)
        if channel.guild is not None:
            channel.guild.channels.pop(channel.id, None)
            channel.guild.threads.pop(channel.id, None)
        for webhook in [hook for hook in self.webhooks.values() if hook.channel is channel]:
            del self.webhooks[webhook.id]
        channel.pulse.fire()

    # -- finding; each raises ApiError as Discord's REST API does --------------------------------

    def user(self, user_id: int | str) -> User:
        try:
            return self.users[int(user_id)]
        except (KeyError, ValueError):
            raise unknown("user") from None

    def guild(self, guild_id: int | str) -> Guild:
        try:
            return self.guilds[int(guild_id)]
        except (KeyError, ValueError):
            raise unknown("guild") from None

    def member(self, guild: Guild, user_id: int | str) -> Member:
        try:
            return guild.members[int(user_id)]
        except (KeyError, ValueError):
            raise unknown("member") from None

    def channel(self, channel_id: int | str) -> Channel:
        try:
            return self.channels[int(channel_id)]
        except (KeyError, ValueError):
            raise unknown("channel") from None

    def message(self, channel: Channel, message_id: int | str) -> Message:
        found = channel.message(int(message_id)) if str(message_id).isdigit() else None
        if found is None or found.visible_to is not None:
            raise unknown("message")
        return found

    def webhook(self, webhook_id: int | str, token: str | None = None) -> Webhook:
        try:
            webhook = self.webhooks[int(webhook_id)]
        except (KeyError, ValueError):
            raise unknown("webhook") from None
        if token is not None and not secrets.compare_digest(token, webhook.token):
            raise unknown("webhook")
        return webhook

    def threads_of(self, channel: Channel) -> Iterator[Channel]:
        if channel.guild is not None:
            for candidate in channel.guild.threads.values():
                if candidate.thread is not None and candidate.thread.parent is channel:
                    yield candidate
