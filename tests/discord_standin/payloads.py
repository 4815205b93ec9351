"""State to Discord JSON: accounts, guilds, roles, channels."""

from __future__ import annotations

from datetime import datetime

from .permissions import channel_permissions
from .snowflakes import snowflake_time
from .state import Channel, ChannelKind, Guild, Json, Member, Role, Thread, User, Webhook
from .world import World


def iso(moment: datetime | None) -> str | None:
    """A timestamp as Discord writes it: ISO 8601 with microseconds and +00:00."""
    return None if moment is None else moment.isoformat(timespec="microseconds")


def user_json(user: User) -> Json:
    return {
        "id": str(user.id),
        "username": user.username,
        "global_name": None if user.bot else user.display_name,
        "discriminator": user.discriminator,
        "avatar": user.avatar,
        "bot": user.bot,
        "public_flags": 0,
    }


def own_user_json(user: User) -> Json:
    """The bot's own account, as READY and GET /users/@me show it."""
    return user_json(user) | {
        "verified": True,
        "mfa_enabled": True,
        "flags": 0,
        "email": None,
        "locale": user.locale,
    }


def role_json(role: Role) -> Json:
    body: Json = {
        "id": str(role.id),
        "name": role.name,
        "permissions": str(role.permissions),
        "position": role.position,
        "color": role.color,
        "colors": {"primary_color": role.color, "secondary_color": None, "tertiary_color": None},
        "hoist": role.hoist,
        "mentionable": role.mentionable,
        "managed": role.managed_by is not None,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }
    if role.managed_by is not None:
        body["tags"] = {"bot_id": str(role.managed_by)}
    return body


def member_json(member: Member, *, with_user: bool = True) -> Json:
    body: Json = {
        "nick": member.nick,
        "avatar": None,
        "roles": [str(role_id) for role_id in sorted(member.role_ids)],
        "joined_at": iso(member.joined_at),
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": member.timed_out_until,
    }
    if with_user:
        body["user"] = user_json(member.user)
    return body


def _thread_json(channel: Channel, thread: Thread, viewer: int) -> Json:
    body: Json = {
        "parent_id": str(thread.parent.id),
        "owner_id": str(thread.owner_id),
        "message_count": min(thread.sent_in_total, 100_000),
        "total_message_sent": thread.sent_in_total,
        "member_count": min(len(thread.member_since), 50),
        "rate_limit_per_user": channel.slowmode,
        "applied_tags": thread.applied_tags,
        "flags": 0,
        "thread_metadata": {
            "archived": thread.archived,
            "auto_archive_duration": thread.auto_archive_minutes,
            "archive_timestamp": iso(thread.archive_changed_at),
            "locked": thread.locked,
            "invitable": thread.invitable,
            "create_timestamp": iso(thread.created_at),
        },
    }
    if viewer in thread.member_since:
        body["member"] = thread_member_json(channel, thread, viewer)
    return body


def thread_member_json(channel: Channel, thread: Thread, user_id: int) -> Json:
    return {
        "id": str(channel.id),
        "user_id": str(user_id),
        "join_timestamp": iso(thread.member_since[user_id]),
        "flags": 0,
    }


def webhook_json(webhook: Webhook) -> Json:
    assert webhook.channel.guild is not None
    return {
        "id": str(webhook.id),
        "type": 1,
        "guild_id": str(webhook.channel.guild.id),
        "channel_id": str(webhook.channel.id),
        "user": user_json(webhook.creator),
        "name": webhook.name,
        "avatar": webhook.avatar,
        "token": webhook.token,
        "application_id": str(webhook.application_id) if webhook.application_id else None,
    }


class Payloads:
    """Views of the world that depend on who looks: the bot's threads, its permissions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def channel(self, channel: Channel) -> Json:
        last = next(reversed(channel.log), None)
        body: Json = {
            "id": str(channel.id),
            "type": int(channel.kind),
            "last_message_id": None if last is None else str(last),
        }
        if channel.guild is None:
            body["recipients"] = [
                user_json(user) for user in channel.recipients if user is not self._world.bot
            ]
            return body
        body |= {"guild_id": str(channel.guild.id), "name": channel.name}
        if channel.thread is not None:
            return body | _thread_json(channel, channel.thread, self._world.bot.id)
        body |= {
            "position": channel.position,
            "topic": channel.topic,
            "nsfw": channel.nsfw,
            "rate_limit_per_user": channel.slowmode,
            "parent_id": str(channel.parent_id) if channel.parent_id else None,
            "permission_overwrites": [
                {
                    "id": str(overwrite.target_id),
                    "type": overwrite.kind,
                    "allow": str(overwrite.allow),
                    "deny": str(overwrite.deny),
                }
                for overwrite in channel.overwrites.values()
            ],
        }
        if channel.kind == ChannelKind.VOICE:
            body |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None}
        if channel.kind == ChannelKind.FORUM:
            body |= {"available_tags": [], "default_reaction_emoji": None, "flags": 0}
        return body | channel.extras

    def partial_channel(self, channel: Channel, user_id: int) -> Json:
        """A channel inside an interaction, with what the invoking user may do there."""
        return self.channel(channel) | {
            "permissions": str(channel_permissions(channel, user_id)),
        }

    def guild(self, guild: Guild) -> Json:
        """A guild as GET /guilds/{id} shows it: no channels, members or threads."""
        return {
            "id": str(guild.id),
            "name": guild.name,
            "icon": None,
            "splash": None,
            "owner_id": str(guild.owner.id),
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "roles": [role_json(role) for role in guild.roles.values()],
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": (
                str(guild.updates_channel_id) if guild.updates_channel_id else None
            ),
            "description": None,
            "banner": None,
            "premium_tier": 0,
            "preferred_locale": guild.locale,
            "nsfw_level": 0,
            "premium_progress_bar_enabled": False,
            "vanity_url_code": None,
        }

    def full_guild(self, guild: Guild, *, all_members: bool) -> Json:
        """A guild as GUILD_CREATE shows it; all_members needs the presences intent."""
        bot = self._world.bot
        seen = guild.members.values() if all_members else [guild.members[bot.id]]
        return self.guild(guild) | {
            "unavailable": False,
            "joined_at": iso(guild.joined_at),
            "large": len(guild.members) >= 250,
            "member_count": len(guild.members),
            "members": [member_json(member) for member in seen],
            "channels": [self.channel(channel) for channel in guild.channels.values()],
            "threads": [
                self.channel(channel)
                for channel in guild.threads.values()
                if channel.thread is not None
                and not channel.thread.archived
                and channel_permissions(channel, bot.id)
            ],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    def application(self) -> Json:
        """The bot's application, as GET /oauth2/applications/@me shows it."""
        bot = self._world.bot
        return {
            "id": str(self._world.application_id),
            "name": bot.username,
            "icon": None,
            "description": "",
            "rpc_origins": [],
            "bot_public": False,
            "bot_require_code_grant": False,
            "bot": user_json(bot),
            "owner": user_json(self._world.owner),
            "team": None,
            "verify_key": "0" * 64,
            # Gateway message content, members and presence, each "limited": a small bot's flags.
            "flags": (1 << 19) | (1 << 15) | (1 << 13),
            "approximate_guild_count": len(self._world.guilds),
            "interactions_endpoint_url": None,
            "created_at": iso(snowflake_time(self._world.application_id)),
        }
