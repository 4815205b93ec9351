"""Tells the gateway's sessions what happened: one method per kind of event."""

from __future__ import annotations

import json
import time

from .gateway import Gateway
from .intents import Intent, in_guild_or_dm
from .message_payloads import MessagePayloads, emoji_json
from .payloads import Payloads, iso, member_json, role_json, thread_member_json, user_json
from .permissions import Permission, channel_permissions
from .sessions import Session
from .state import Channel, Guild, Json, Member, Message, Role, User
from .world import World

#: Members per GUILD_MEMBERS_CHUNK.
CHUNK = 1000


class Broadcast:
    """Events in the order in which they happen, each to the sessions that may hear it."""

    def __init__(
        self, world: World, gateway: Gateway, payloads: Payloads, messages: MessagePayloads
    ) -> None:
        self._world = world
        self._gateway = gateway
        self._payloads = payloads
        self._messages = messages

    # -- the beginning ---------------------------------------------------------------------------

    def greeting(self, session: Session, resume_url: str) -> list[tuple[str, Json]]:
        """READY with the shard's guilds still unavailable, then a GUILD_CREATE for each."""
        bot = self._world.bot
        mine = [
            guild
            for guild in self._world.guilds.values()
            if session.hears(guild.id, Intent(0)) and bot.id in guild.members
        ]
        ready: Json = {
            "v": 10,
            "user": {**user_json(bot), "verified": True, "mfa_enabled": True, "flags": 0},
            "guilds": [{"id": str(guild.id), "unavailable": True} for guild in mine],
            "session_id": session.id,
            "resume_gateway_url": resume_url,
            "session_type": "normal",
            "shard": [session.shard, session.shard_count],
            "application": {"id": str(self._world.application_id), "flags": (1 << 19)},
            "private_channels": [],
            "relationships": [],
            "presences": [],
            "user_settings": {},
            "guild_join_requests": [],
            "_trace": ["stand-in"],
        }
        creates = [
            ("GUILD_CREATE", self._full_guild(session, guild))
            for guild in mine
            if guild.available and session.intents & Intent.GUILDS
        ]
        return [("READY", ready), *creates]

    def _full_guild(self, session: Session, guild: Guild) -> Json:
        presences = bool(session.intents & Intent.GUILD_PRESENCES)
        small = len(guild.members) <= session.large_threshold
        return self._payloads.full_guild(guild, all_members=presences and small)

    def members_requested(self, session: Session, request: Json) -> None:
        """Answers opcode 8 in chunks of a thousand."""
        guild = self._world.guilds.get(int(request["guild_id"]))
        if guild is None:
            return
        wanted = {int(user_id) for user_id in _as_list(request.get("user_ids"))}
        if wanted:
            found = [guild.members[user_id] for user_id in wanted if user_id in guild.members]
        else:
            prefix = (request.get("query") or "").casefold()
            found = [
                member
                for member in guild.members.values()
                if member.user.username.casefold().startswith(prefix)
                or (member.nick or "").casefold().startswith(prefix)
            ]
            found = found[: request.get("limit") or None]
        chunks = [found[i : i + CHUNK] for i in range(0, len(found), CHUNK)] or [[]]
        for index, chunk in enumerate(chunks):
            body: Json = {
                "guild_id": str(guild.id),
                "members": [member_json(member) for member in chunk],
                "chunk_index": index,
                "chunk_count": len(chunks),
                "not_found": [str(user_id) for user_id in wanted - set(guild.members)],
            }
            if request.get("nonce"):
                body["nonce"] = request["nonce"]
            session.push("GUILD_MEMBERS_CHUNK", json.dumps(body))

    # -- messages --------------------------------------------------------------------------------

    def _to_channel(self, event: str, body: Json, channel: Channel, intent: Intent) -> None:
        guild_id = None
        if channel.guild is not None:
            if not channel_permissions(channel, self._world.bot.id) & Permission.VIEW_CHANNEL:
                return
            guild_id = channel.guild.id
            body["guild_id"] = str(guild_id)
        self._gateway.dispatch(event, body, guild_id, intent)

    def _message(self, event: str, message: Message) -> None:
        channel = message.channel
        channel.pulse.fire()
        bot = self._world.bot.id
        if message.visible_to is not None:
            return  # ephemeral messages never come through the gateway
        if not channel_permissions(channel, bot) & Permission.VIEW_CHANNEL:
            return
        guild_id = channel.guild.id if channel.guild else None
        intent = in_guild_or_dm(guild_id is not None, "messages")
        texts: dict[bool, str] = {}
        for session in self._gateway.hearing(guild_id, intent):
            reads = bool(session.intents & Intent.MESSAGE_CONTENT)
            if reads not in texts:
                body = self._messages.message(message, content=reads, member=True)
                texts[reads] = json.dumps(body)
            session.push(event, texts[reads])

    def message_created(self, message: Message) -> None:
        self._message("MESSAGE_CREATE", message)

    def message_edited(self, message: Message) -> None:
        self._message("MESSAGE_UPDATE", message)

    def message_deleted(self, message: Message) -> None:
        message.channel.pulse.fire()
        if message.visible_to is not None:
            return
        channel = message.channel
        self._to_channel(
            "MESSAGE_DELETE",
            {"id": str(message.id), "channel_id": str(channel.id)},
            channel,
            in_guild_or_dm(channel.guild is not None, "messages"),
        )

    def messages_deleted(self, channel: Channel, message_ids: list[int]) -> None:
        channel.pulse.fire()
        self._to_channel(
            "MESSAGE_DELETE_BULK",
            {"ids": [str(i) for i in message_ids], "channel_id": str(channel.id)},
            channel,
            Intent.GUILD_MESSAGES,
        )

    def pins_changed(self, channel: Channel) -> None:
        pins = [message.pinned_at for message in channel.visible() if message.pinned_at]
        body: Json = {
            "channel_id": str(channel.id),
            "last_pin_timestamp": iso(max(pins, default=None)),
        }
        intent = Intent.GUILDS if channel.guild else Intent.DIRECT_MESSAGES
        self._to_channel("CHANNEL_PINS_UPDATE", body, channel, intent)

    def reaction(self, message: Message, user: User, emoji: str, *, added: bool) -> None:
        channel = message.channel
        channel.pulse.fire()
        body: Json = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "message_author_id": str(message.author.id),
            "emoji": emoji_json(emoji),
            "burst": False,
            "burst_colors": [],
            "type": 0,
        }
        if added and channel.guild is not None and user.id in channel.guild.members:
            body["member"] = member_json(channel.guild.members[user.id])
        event = "MESSAGE_REACTION_ADD" if added else "MESSAGE_REACTION_REMOVE"
        intent = in_guild_or_dm(channel.guild is not None, "reactions")
        self._to_channel(event, body, channel, intent)

    def reactions_cleared(self, message: Message, emoji: str | None) -> None:
        channel = message.channel
        channel.pulse.fire()
        body: Json = {"channel_id": str(channel.id), "message_id": str(message.id)}
        event = "MESSAGE_REACTION_REMOVE_ALL"
        if emoji is not None:
            event, body["emoji"] = "MESSAGE_REACTION_REMOVE_EMOJI", emoji_json(emoji)
        self._to_channel(
            event, body, channel, in_guild_or_dm(channel.guild is not None, "reactions")
        )

    def typing(self, channel: Channel, user: User) -> None:
        channel.pulse.fire()
        body: Json = {
            "channel_id": str(channel.id),
            "user_id": str(user.id),
            "timestamp": int(time.time()),
        }
        if channel.guild is not None and user.id in channel.guild.members:
            body["member"] = member_json(channel.guild.members[user.id])
        intent = in_guild_or_dm(channel.guild is not None, "typing")
        self._to_channel("TYPING_START", body, channel, intent)

    # -- channels and threads --------------------------------------------------------------------

    def channel(self, event: str, channel: Channel, **more: object) -> None:
        """CHANNEL_CREATE / _UPDATE / _DELETE or THREAD_CREATE / _UPDATE."""
        channel.pulse.fire()
        if channel.guild is None:
            return
        body = self._payloads.channel(channel) | more
        self._gateway.dispatch(event, body, channel.guild.id, Intent.GUILDS)

    def thread_deleted(self, channel: Channel) -> None:
        assert channel.guild is not None
        assert channel.thread is not None
        channel.pulse.fire()
        body: Json = {
            "id": str(channel.id),
            "guild_id": str(channel.guild.id),
            "parent_id": str(channel.thread.parent.id),
            "type": int(channel.kind),
        }
        self._gateway.dispatch("THREAD_DELETE", body, channel.guild.id, Intent.GUILDS)

    def thread_members(self, channel: Channel, added: list[int], removed: list[int]) -> None:
        """THREAD_MEMBERS_UPDATE; for others than the bot only with the members intent."""
        assert channel.guild is not None
        assert channel.thread is not None
        channel.pulse.fire()
        body: Json = {
            "id": str(channel.id),
            "guild_id": str(channel.guild.id),
            "member_count": len(channel.thread.member_since),
            "added_members": [
                thread_member_json(channel, channel.thread, user_id) for user_id in added
            ],
            "removed_member_ids": [str(user_id) for user_id in removed],
        }
        about_bot = self._world.bot.id in (*added, *removed)
        intent = Intent.GUILDS if about_bot else Intent.GUILD_MEMBERS
        self._gateway.dispatch("THREAD_MEMBERS_UPDATE", body, channel.guild.id, intent)

    def webhooks_changed(self, channel: Channel) -> None:
        body: Json = {"channel_id": str(channel.id)}
        self._to_channel("WEBHOOKS_UPDATE", body, channel, Intent.GUILD_WEBHOOKS)

    # -- guilds ----------------------------------------------------------------------------------

    def guild_joined(self, guild: Guild) -> None:
        """GUILD_CREATE for a guild that the bot was just added to (no `unavailable` key)."""
        for session in self._gateway.hearing(guild.id, Intent.GUILDS):
            body = self._full_guild(session, guild)
            del body["unavailable"]
            session.push("GUILD_CREATE", json.dumps(body))

    def guild_available(self, guild: Guild) -> None:
        """GUILD_CREATE when an outage is over."""
        for session in self._gateway.hearing(guild.id, Intent.GUILDS):
            session.push("GUILD_CREATE", json.dumps(self._full_guild(session, guild)))

    def guild_left(self, guild: Guild, *, outage: bool = False) -> None:
        """GUILD_DELETE: removed from it, or (outage) it became unavailable."""
        body: Json = {"id": str(guild.id)}
        if outage:
            body["unavailable"] = True
        self._gateway.dispatch("GUILD_DELETE", body, guild.id, Intent.GUILDS)

    def member(self, event: str, guild: Guild, member: Member) -> None:
        """GUILD_MEMBER_ADD / _UPDATE / _REMOVE. The bot hears of itself without the intent."""
        body = {"guild_id": str(guild.id)} | (
            {"user": user_json(member.user)}
            if event == "GUILD_MEMBER_REMOVE"
            else member_json(member)
        )
        own_update = member.user is self._world.bot and event == "GUILD_MEMBER_UPDATE"
        intent = Intent(0) if own_update else Intent.GUILD_MEMBERS
        self._gateway.dispatch(event, body, guild.id, intent)

    def role(self, event: str, guild: Guild, role: Role) -> None:
        """GUILD_ROLE_CREATE / _UPDATE / _DELETE."""
        body: Json = {"guild_id": str(guild.id), "role_id": str(role.id), "role": role_json(role)}
        self._gateway.dispatch(event, body, guild.id, Intent.GUILDS)

    def interaction(self, guild: Guild | None, body: Json) -> None:
        self._gateway.dispatch("INTERACTION_CREATE", body, guild.id if guild else None, Intent(0))


def _as_list(value: object) -> list[str | int]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]  # type: ignore[list-item]
