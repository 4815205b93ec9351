"""Messages as Discord JSON, with the content withheld from those who may not read it."""

from __future__ import annotations

from urllib.parse import quote

from .payloads import Payloads, iso, member_json, user_json
from .state import Attachment, Channel, Json, Message
from .world import World


def emoji_json(key: str) -> Json:
    """A reaction's emoji from its key: "👍", or "name:id" for a custom one."""
    name, _, emoji_id = key.rpartition(":")
    if name and emoji_id.isdigit():
        return {"id": emoji_id, "name": name, "animated": False}
    return {"id": None, "name": key}


class MessagePayloads:
    """Builds message objects for one viewer, the bot."""

    def __init__(self, world: World, payloads: Payloads) -> None:
        self._world = world
        self._payloads = payloads
        self.attachment_base = ""  # set once the server knows its port

    def attachment(self, attachment: Attachment) -> Json:
        url = (
            f"{self.attachment_base}/attachments/{attachment.channel_id}/{attachment.id}/"
            f"{quote(attachment.filename)}"
        )
        body: Json = {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": len(attachment.data),
            "url": url,
            "proxy_url": url,
            "content_type": attachment.content_type,
            "flags": 0,
        }
        if attachment.description is not None:
            body["description"] = attachment.description
        if attachment.ephemeral:
            body["ephemeral"] = True
        return body

    def message(
        self, message: Message, *, content: bool = True, nested: bool = True, member: bool = False
    ) -> Json:
        """One message.

        content: whether the viewer has the message content intent.
        nested: with the message it replies to (never more than one level, as on Discord).
        member: with `guild_id`, `member` and the mentions' members, as gateway events carry.
        """
        readable = content or self._always_readable(message)
        body: Json = {
            "id": str(message.id),
            "channel_id": str(message.channel.id),
            "author": user_json(message.author),
            "content": message.content if readable else "",
            "embeds": message.embeds if readable else [],
            "attachments": [self.attachment(a) for a in message.attachments] if readable else [],
            "components": message.components if readable else [],
            "timestamp": iso(message.created_at),
            "edited_timestamp": iso(message.edited_at),
            "type": int(message.kind),
            "flags": message.flags,
            "tts": message.tts,
            "pinned": message.pinned_at is not None,
            "mention_everyone": message.mention_everyone,
            "mentions": [user_json(user) for user in message.mentions],
            "mention_roles": [str(role_id) for role_id in message.mention_role_ids],
        }
        if message.reactions:
            body["reactions"] = self._reactions(message)
        self._add_origin(message, body)
        self._add_reference(message, body, content=content, nested=nested)
        if message.thread is not None:
            body["thread"] = self._payloads.channel(message.thread)
        if member:
            self._add_guild(message, message.channel, body)
        return body

    def _always_readable(self, message: Message) -> bool:
        """Without the intent a bot still reads its own, direct, and those that mention it."""
        bot = self._world.bot
        return (
            message.channel.guild is None
            or message.author is bot
            or message.application_id == self._world.application_id
            or bot in message.mentions
        )

    def _reactions(self, message: Message) -> list[Json]:
        return [
            {
                "emoji": emoji_json(key),
                "count": len(user_ids),
                "count_details": {"burst": 0, "normal": len(user_ids)},
                "me": self._world.bot.id in user_ids,
                "me_burst": False,
                "burst_colors": [],
            }
            for key, user_ids in message.reactions.items()
        ]

    def _add_origin(self, message: Message, body: Json) -> None:
        if message.nonce is not None:
            body["nonce"] = message.nonce
        if message.webhook_id is not None:
            body["webhook_id"] = str(message.webhook_id)
        if message.application_id is not None:
            body["application_id"] = str(message.application_id)
        if message.interaction is not None:
            body["interaction"] = message.interaction
        if message.interaction_metadata is not None:
            body["interaction_metadata"] = message.interaction_metadata

    def _add_reference(self, message: Message, body: Json, *, content: bool, nested: bool) -> None:
        reply_to = message.reply_to
        if reply_to is None:
            return
        body["message_reference"] = {
            "type": 0,
            "message_id": str(reply_to.message_id),
            "channel_id": str(reply_to.channel_id),
        }
        if reply_to.guild_id is not None:
            body["message_reference"]["guild_id"] = str(reply_to.guild_id)
        if nested:
            target = reply_to.target
            body["referenced_message"] = (
                None
                if target is None or target.deleted
                else self.message(target, content=content, nested=False)
            )

    def _add_guild(self, message: Message, channel: Channel, body: Json) -> None:
        guild = channel.guild
        if guild is None:
            return
        body["guild_id"] = str(guild.id)
        author = guild.members.get(message.author.id)
        if author is not None and message.webhook_id is None:
            body["member"] = member_json(author, with_user=False)
        body["mentions"] = [
            user_json(user)
            | (
                {"member": member_json(guild.members[user.id], with_user=False)}
                if user.id in guild.members
                else {}
            )
            for user in message.mentions
        ]
