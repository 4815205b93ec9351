"""Discord messages as what the turn hears."""

from __future__ import annotations

import re

import discord

from bot.delivery import channel_key
from bot.incoming import Incoming, Place

_HEARD_TYPES = (discord.MessageType.default, discord.MessageType.reply)
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_CHANNEL = re.compile(r"<#(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")
_COMMAND = re.compile(r"<(/[^:<>]+):\d+>")


def place_of(channel: object, channel_id: int, guild_id: int | None) -> Place:
    """The place behind a channel as discord.py gives it, which may be known by its id alone."""
    guild_key = channel_key(guild_id) if guild_id is not None else None
    name = getattr(channel, "name", None) or str(channel_id)
    adults = hasattr(channel, "is_nsfw") and bool(channel.is_nsfw())
    if isinstance(channel, discord.Thread):
        parent = channel_key(channel.parent_id)
        return Place(channel_key(channel_id), name, "thread", guild_key, parent, adults)
    if guild_id is None:
        recipient = getattr(channel, "recipient", None)
        name = recipient.display_name if recipient is not None else "direct message"
        return Place(channel_key(channel_id), name, "dm")
    return Place(channel_key(channel_id), name, "guild", guild_key, age_restricted=adults)


class Hearing:
    """What one bot hears: its own mentions are taken out, and tell that it was addressed."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    def is_heard(self, message: discord.Message) -> bool:
        """Whether a person said it: no bot, this one included, no webhook, no system message."""
        by_person = not message.author.bot and message.webhook_id is None
        return by_person and message.type in _HEARD_TYPES

    def is_mine(self, message: discord.Message) -> bool:
        """Whether the bot posted it, as itself or through a webhook of its own."""
        me = self._client.user.id if self._client.user is not None else 0
        by_webhook = message.webhook_id is not None and message.application_id is not None
        return message.author.id == me or (
            by_webhook and message.application_id == self._client.application_id
        )

    def place(self, message: discord.Message) -> Place:
        guild_id = message.guild.id if message.guild is not None else None
        return place_of(message.channel, message.channel.id, guild_id)

    def incoming(self, message: discord.Message, place: Place) -> Incoming:
        """What `message` says.

        It is addressed if it mentions the bot or one of the bot's own roles, or answers a post of
        the bot that Discord sent along; the turn looks other references up in the memory.
        """
        me = self._client.user.id if self._client.user is not None else 0
        own_roles = _own_roles(message.guild)
        mentioned = me in message.raw_mentions or bool(own_roles & set(message.raw_role_mentions))
        reference = message.reference if message.type is discord.MessageType.reply else None
        answered = reference.resolved if reference is not None else None
        answers_me = isinstance(answered, discord.Message) and self.is_mine(answered)
        return Incoming(
            place=place,
            author_key=channel_key(message.author.id),
            author_name=message.author.display_name,
            content=readable(message, me, own_roles),
            created_at=message.created_at.timestamp(),
            post_id=message.id,
            reply_to_post=reference.message_id if reference is not None else None,
            addressed=mentioned or answers_me or place.private,
            to_others=_to_others(message, answered, me, own_roles),
            files=_files(message),
        )


def _to_others(
    message: discord.Message, answered: object, me: int, own_roles: frozenset[int]
) -> bool:
    """Whether it mentions somebody else, or replies to what somebody else but the author said.

    Of a character that speaks through a webhook the turn knows better, from the memory.
    """
    if set(message.raw_mentions) - {me} or set(message.raw_role_mentions) - own_roles:
        return True
    if message.type is not discord.MessageType.reply:
        return False
    return not (isinstance(answered, discord.Message) and answered.author.id == message.author.id)


def _own_roles(guild: discord.Guild | None) -> frozenset[int]:
    """The role that Discord made for the bot, which people mention by mistake."""
    role = guild.self_role if guild is not None else None
    return frozenset() if role is None else frozenset((role.id,))


def readable(message: discord.Message, me: int, own_roles: frozenset[int]) -> str:
    """The content as people see it: names for ids, and without the mention of the bot itself."""
    users = {user.id: user.display_name for user in message.mentions}
    guild = message.guild

    def user(match: re.Match[str]) -> str:
        user_id = int(match[1])
        return "" if user_id == me else f"@{users.get(user_id, 'somebody')}"

    def role(match: re.Match[str]) -> str:
        role_id = int(match[1])
        known = guild.get_role(role_id) if guild is not None else None
        return "" if role_id in own_roles else f"@{known.name if known is not None else 'role'}"

    def channel(match: re.Match[str]) -> str:
        known = guild.get_channel_or_thread(int(match[1])) if guild is not None else None
        return f"#{known.name if known is not None else 'channel'}"

    text = _USER.sub(user, message.content)
    text = _ROLE.sub(role, text)
    text = _CHANNEL.sub(channel, text)
    text = _COMMAND.sub(r"\1", _EMOJI.sub(r"\1", text))
    return text.strip().removeprefix(",").strip() if text != message.content else text.strip()


def _files(message: discord.Message) -> tuple[str, ...]:
    names = [attachment.filename for attachment in message.attachments]
    names += [f"{sticker.name} (sticker)" for sticker in message.stickers]
    if message.poll is not None:
        names.append(f"{message.poll.question} (poll)")
    return tuple(names)
