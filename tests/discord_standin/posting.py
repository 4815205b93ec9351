"""How messages come to be, change and go: the one way, for the bot's requests and for actors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .bodies import Upload
from .broadcast import Broadcast
from .errors import ApiError, empty_message, invalid_form
from .mentions import find_mentions
from .state import (
    COMPONENTS_V2,
    LOADING,
    SUPPRESS_EMBEDS,
    SUPPRESS_NOTIFICATIONS,
    Attachment,
    Channel,
    Json,
    Message,
    MessageKind,
    ReplyTo,
    User,
)
from .validation import (
    MAX_UPLOAD,
    check_components,
    check_content,
    check_embeds,
    number_components,
)
from .world import World

_SETTABLE_FLAGS = SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS | COMPONENTS_V2
#: Seconds for which `enforce_nonce` recognises a repeated nonce.
NONCE_WINDOW = 300.0


@dataclass
class Draft:
    """What a sender asks for: the JSON of a message create, and its files."""

    payload: Json
    files: list[Upload] = field(default_factory=list)
    #: Set for webhooks and interaction responses.
    webhook_id: int | None = None
    application_id: int | None = None
    interaction: Json | None = None
    interaction_metadata: Json | None = None
    visible_to: int | None = None
    kind: int = MessageKind.DEFAULT
    extra_flags: int = 0
    may_be_empty: bool = False
    #: A forum post's first message shares its thread's id.
    message_id: int | None = None


class Posting:
    """Creates, edits and deletes messages, and tells everyone. Knows no permissions: its
    callers check those, each in its own way."""

    def __init__(self, world: World, broadcast: Broadcast) -> None:
        self._world = world
        self._broadcast = broadcast
        self._nonces: dict[tuple[int, int, str], Message] = {}

    # -- messages --------------------------------------------------------------------------------

    def create(self, channel: Channel, author: User, draft: Draft) -> Message:
        """Posts. Raises ApiError for what Discord refuses: too long, empty, bad reference …"""
        payload = draft.payload
        repeated = self._repeated(channel, author, payload)
        if repeated is not None:
            return repeated
        content = str(payload.get("content") or "").strip()
        embeds: list[Json] = payload.get("embeds") or []
        components: list[Json] = payload.get("components") or []
        flags = int(payload.get("flags") or 0) & _SETTABLE_FLAGS | draft.extra_flags
        check_content(content)
        check_embeds(embeds)
        check_components(components, flags)
        self._check_layout(content, embeds, flags)
        has_something = content or embeds or components or draft.files or payload.get("poll")
        if not has_something and not draft.may_be_empty:
            raise empty_message()
        reply_to = self._reply_to(channel, payload.get("message_reference"))
        message = Message(
            draft.message_id or self._world.snowflakes.next(),
            channel,
            author,
            content,
            MessageKind.REPLY if reply_to and not draft.kind else draft.kind,
            _embeds_as_stored(embeds),
            components,
            flags=flags,
            tts=bool(payload.get("tts")),
            nonce=payload.get("nonce"),
            reply_to=reply_to,
            allowed_mentions=payload.get("allowed_mentions"),
            webhook_id=draft.webhook_id,
            avatar_url=payload.get("avatar_url") if draft.webhook_id else None,
            application_id=draft.application_id,
            interaction=draft.interaction,
            interaction_metadata=draft.interaction_metadata,
            visible_to=draft.visible_to,
        )
        number_components(message.components)
        message.attachments = [self._store(upload, message) for upload in draft.files]
        self.publish(message)
        return message

    def publish(self, message: Message) -> None:
        """Files a finished message under its channel and announces it."""
        self._find_mentions(message)
        message.record_revision()
        message.channel.log[message.id] = message
        if message.channel.thread is not None:
            message.channel.thread.sent_in_total += 1
        if message.nonce is not None:
            key = (message.channel.id, message.author.id, str(message.nonce))
            self._nonces[key] = message
        self._broadcast.message_created(message)

    def edit(self, message: Message, payload: Json, files: list[Upload] | None = None) -> None:
        """Applies a PATCH: keys that are absent stay as they are."""
        content = message.content
        if "content" in payload:
            content = str(payload["content"] or "").strip()
        embeds = message.embeds
        if "embeds" in payload:
            embeds = _embeds_as_stored(payload["embeds"] or [])
        components = message.components
        if "components" in payload:
            components = payload["components"] or []
        flags = message.flags
        if payload.get("flags") is not None:
            # Only these can be changed by an edit; and components v2 only be added.
            changeable = SUPPRESS_EMBEDS
            wanted = int(payload["flags"])
            flags = flags & ~changeable | wanted & changeable | wanted & COMPONENTS_V2
        check_content(content)
        check_embeds(embeds)
        check_components(components, flags)
        self._check_layout(content, embeds, flags)
        attachments = self._edited_attachments(message, payload, files or [])
        if not (content or embeds or components or attachments):
            raise empty_message()
        if "allowed_mentions" in payload:
            message.allowed_mentions = payload["allowed_mentions"]
        was_loading = message.loading
        message.content, message.embeds, message.components = content, embeds, components
        message.flags = flags & ~LOADING
        message.attachments = attachments
        number_components(message.components)
        if not was_loading:  # filling in "… is thinking" is not shown as an edit
            message.edited_at = datetime.now(UTC)
        self._find_mentions(message)
        message.record_revision()
        self._broadcast.message_edited(message)

    def delete(self, message: Message) -> None:
        message.deleted_at = time.monotonic()
        self._broadcast.message_deleted(message)

    def delete_many(self, channel: Channel, messages: list[Message]) -> None:
        for message in messages:
            message.deleted_at = time.monotonic()
        self._broadcast.messages_deleted(channel, [message.id for message in messages])

    # -- what hangs on messages ------------------------------------------------------------------

    def react(self, message: Message, user: User, emoji: str) -> None:
        reacted = message.reactions.setdefault(emoji, [])
        if user.id not in reacted:
            reacted.append(user.id)
            self._broadcast.reaction(message, user, emoji, added=True)

    def unreact(self, message: Message, user: User, emoji: str) -> None:
        reacted = message.reactions.get(emoji, [])
        if user.id in reacted:
            reacted.remove(user.id)
            if not reacted:
                del message.reactions[emoji]
            self._broadcast.reaction(message, user, emoji, added=False)

    def clear_reactions(self, message: Message, emoji: str | None = None) -> None:
        if emoji is None:
            message.reactions.clear()
        else:
            message.reactions.pop(emoji, None)
        self._broadcast.reactions_cleared(message, emoji)

    def pin(self, message: Message, user: User) -> None:
        if message.pinned_at is not None:
            return
        message.pinned_at = datetime.now(UTC)
        self._broadcast.message_edited(message)
        self._broadcast.pins_changed(message.channel)
        guild = message.channel.guild
        reference = ReplyTo(message.id, message.channel.id, guild.id if guild else None, message)
        self.publish(
            Message(
                self._world.snowflakes.next(),
                message.channel,
                user,
                kind=MessageKind.CHANNEL_PINNED_MESSAGE,
                reply_to=reference,
            )
        )

    def unpin(self, message: Message) -> None:
        if message.pinned_at is not None:
            message.pinned_at = None
            self._broadcast.message_edited(message)
            self._broadcast.pins_changed(message.channel)

    # -- parts -----------------------------------------------------------------------------------

    def _repeated(self, channel: Channel, author: User, payload: Json) -> Message | None:
        """With enforce_nonce, a retried create finds the message that the first try made."""
        if not payload.get("enforce_nonce") or payload.get("nonce") is None:
            return None
        known = self._nonces.get((channel.id, author.id, str(payload["nonce"])))
        return known if known and time.monotonic() - known.at < NONCE_WINDOW else None

    def _reply_to(self, channel: Channel, reference: Json | None) -> ReplyTo | None:
        if not reference or reference.get("type", 0) != 0:
            return None
        message_id = int(reference["message_id"])
        target = channel.message(message_id)
        guild_id = channel.guild.id if channel.guild else None
        if target is None or target.visible_to is not None:
            if reference.get("fail_if_not_exists", True):
                raise invalid_form(
                    "message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message"
                )
            return None
        return ReplyTo(message_id, channel.id, guild_id, target)

    def _check_layout(self, content: str, embeds: list[Json], flags: int) -> None:
        if flags & COMPONENTS_V2 and (content or embeds):
            raise invalid_form(
                "content",
                "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
                "The 'content' field cannot be used when using MessageFlags.IS_COMPONENTS_V2",
            )

    def _store(self, upload: Upload, message: Message) -> Attachment:
        if len(upload.data) > MAX_UPLOAD:
            raise ApiError(413, 40005, "Request entity too large")
        attachment = Attachment(
            self._world.snowflakes.next(),
            upload.filename,
            upload.data,
            upload.content_type,
            upload.description,
            message.channel.id,
            ephemeral=message.ephemeral,
        )
        self._world.attachments[attachment.id] = attachment
        return attachment

    def store_upload(self, upload: Upload, channel: Channel) -> Attachment:
        """Keeps a file that comes with no message: a slash command's attachment option."""
        attachment = Attachment(
            self._world.snowflakes.next(),
            upload.filename,
            upload.data,
            upload.content_type,
            channel_id=channel.id,
            ephemeral=True,
        )
        self._world.attachments[attachment.id] = attachment
        return attachment

    def _edited_attachments(
        self, message: Message, payload: Json, files: list[Upload]
    ) -> list[Attachment]:
        kept = message.attachments
        if "attachments" in payload:
            wanted: set[Any] = {str(entry.get("id")) for entry in payload["attachments"] or []}
            kept = [attachment for attachment in kept if str(attachment.id) in wanted]
        return [*kept, *(self._store(upload, message) for upload in files)]

    def _find_mentions(self, message: Message) -> None:
        target = message.reply_to.target if message.reply_to else None
        replied_to = target.author if target and message.kind == MessageKind.REPLY else None
        if replied_to is not None and replied_to.id not in self._world.users:
            replied_to = None  # a webhook's face is nobody that can be pinged
        found = find_mentions(
            self._world,
            message.channel,
            message.author,
            message.content,
            message.allowed_mentions,
            replied_to,
        )
        message.mentions = found.users
        message.mention_role_ids = found.role_ids
        message.mention_everyone = found.everyone


def _embeds_as_stored(embeds: list[Json]) -> list[Json]:
    """Discord hands embeds back with a type and without what was empty."""
    return [
        {"type": "rich"} | {key: value for key, value in embed.items() if value not in (None, [])}
        for embed in embeds
    ]
