"""Permission bits, and how roles and overwrites add up to what a member may do in a channel."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import Channel, Guild, Member


class Permission(IntFlag):
    """The bits that the stand-in knows by name; others pass through as plain integers."""

    CREATE_INSTANT_INVITE = 1 << 0
    KICK_MEMBERS = 1 << 1
    BAN_MEMBERS = 1 << 2
    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_AUDIT_LOG = 1 << 7
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    SEND_TTS_MESSAGES = 1 << 12
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_EXTERNAL_EMOJIS = 1 << 18
    CHANGE_NICKNAME = 1 << 26
    MANAGE_NICKNAMES = 1 << 27
    MANAGE_ROLES = 1 << 28
    MANAGE_WEBHOOKS = 1 << 29
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38
    MODERATE_MEMBERS = 1 << 40
    PIN_MESSAGES = 1 << 51


ALL = (1 << 53) - 1

#: What a new guild's @everyone may do, as in a fresh Discord server.
EVERYONE = int(
    Permission.CREATE_INSTANT_INVITE
    | Permission.ADD_REACTIONS
    | Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.MENTION_EVERYONE
    | Permission.USE_EXTERNAL_EMOJIS
    | Permission.CHANGE_NICKNAME
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.CREATE_PRIVATE_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
)

#: What the bot's own role grants beyond @everyone: all that a bot of this kind asks for.
BOT_ROLE = int(
    Permission.MANAGE_MESSAGES
    | Permission.MANAGE_WEBHOOKS
    | Permission.MANAGE_THREADS
    | Permission.PIN_MESSAGES
)

#: A direct message has no roles: both sides may do this.
DIRECT_MESSAGE = int(
    Permission.ADD_REACTIONS
    | Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.PIN_MESSAGES
)

PermissionsLike = int | str | Iterable[str] | None


def permission_bits(value: PermissionsLike) -> int:
    """Bits from an integer, one name ("manage_messages") or several; None is no bits.

    Raises KeyError for a name that Discord does not have.
    """
    if value is None:
        return 0
    if isinstance(value, int):
        return int(value)
    names = [value] if isinstance(value, str) else value
    bits = 0
    for name in names:
        bits |= Permission[name.upper()]
    return bits


def guild_permissions(guild: Guild, member: Member) -> int:
    """What a member may do in the guild, before any channel says otherwise."""
    if member.user.id == guild.owner.id:
        return ALL
    bits = guild.roles[guild.id].permissions
    for role_id in member.role_ids:
        bits |= guild.roles[role_id].permissions
    return ALL if bits & Permission.ADMINISTRATOR else bits


def channel_permissions(channel: Channel, user_id: int) -> int:
    """What a user may do in a channel; 0 for someone who is not in it."""
    if channel.guild is None:
        return DIRECT_MESSAGE if any(user.id == user_id for user in channel.recipients) else 0
    member = channel.guild.members.get(user_id)
    if member is None:
        return 0
    base = guild_permissions(channel.guild, member)
    if base == ALL:
        return ALL
    # A thread has no overwrites of its own: its parent's count.
    overwrites = (channel.thread.parent if channel.thread else channel).overwrites
    everyone = overwrites.get(channel.guild.id)
    if everyone:
        base = base & ~everyone.deny | everyone.allow
    of_roles = [overwrites[role_id] for role_id in member.role_ids if role_id in overwrites]
    for overwrite in of_roles:
        base &= ~overwrite.deny
    for overwrite in of_roles:
        base |= overwrite.allow
    own = overwrites.get(user_id)
    if own:
        base = base & ~own.deny | own.allow
    return base if base & Permission.VIEW_CHANNEL else 0
