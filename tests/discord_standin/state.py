"""What exists in the stand-in Discord: plain records, the one truth that everything reads.

Times called `..._at` on the wire are datetimes (UTC); times that tests measure with (`at`,
`deleted_at`, `Revision.at`) are `time.monotonic()` seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from .permissions import EVERYONE, channel_permissions
from .snowflakes import snowflake_time
from .waiting import Pulse

Json = dict[str, Any]

EPHEMERAL = 1 << 6
LOADING = 1 << 7
HAS_THREAD = 1 << 5
SUPPRESS_EMBEDS = 1 << 2
SUPPRESS_NOTIFICATIONS = 1 << 12
COMPONENTS_V2 = 1 << 15


class ChannelKind(IntEnum):
    TEXT = 0
    DM = 1
    VOICE = 2
    CATEGORY = 4
    NEWS = 5
    NEWS_THREAD = 10
    PUBLIC_THREAD = 11
    PRIVATE_THREAD = 12
    FORUM = 15


class MessageKind(IntEnum):
    DEFAULT = 0
    CHANNEL_PINNED_MESSAGE = 6
    THREAD_CREATED = 18
    REPLY = 19
    CHAT_INPUT_COMMAND = 20
    THREAD_STARTER_MESSAGE = 21
    CONTEXT_MENU_COMMAND = 23


@dataclass(eq=False)
class User:
    """An account: a person, the bot, or the face that a webhook wears for one message."""

    id: int
    username: str
    display_name: str
    bot: bool = False
    discriminator: str = "0"
    avatar: str | None = None
    locale: str = "en-US"
    accepts_dms: bool = True

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"


@dataclass(eq=False)
class Role:
    id: int
    name: str
    permissions: int = 0
    position: int = 1
    color: int = 0
    hoist: bool = False
    mentionable: bool = False
    managed_by: int | None = None  # the bot's user id, for its own role

    @property
    def mention(self) -> str:
        return f"<@&{self.id}>"


@dataclass(eq=False)
class Member:
    user: User
    joined_at: datetime
    nick: str | None = None
    role_ids: set[int] = field(default_factory=set)
    timed_out_until: str | None = None


@dataclass
class Overwrite:
    """What a channel allows and denies to a role (kind 0) or a member (kind 1); bits."""

    target_id: int
    kind: int
    allow: int = 0
    deny: int = 0


@dataclass(eq=False)
class Attachment:
    id: int
    filename: str
    data: bytes
    content_type: str
    description: str | None = None
    channel_id: int = 0
    ephemeral: bool = False


@dataclass
class Revision:
    """What a message showed from `at` on."""

    at: float
    content: str
    embeds: list[Json]
    components: list[Json]


@dataclass
class Typing:
    user_id: int
    at: float


@dataclass(eq=False)
class ReplyTo:
    """A message reference: where it points, and the message while it still exists."""

    message_id: int
    channel_id: int
    guild_id: int | None
    target: Message | None


@dataclass(eq=False)
class Message:
    id: int
    channel: Channel
    author: User
    content: str = ""
    kind: int = MessageKind.DEFAULT
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    tts: bool = False
    nonce: str | None = None
    reply_to: ReplyTo | None = None
    mentions: list[User] = field(default_factory=list)
    mention_role_ids: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    #: allowed_mentions exactly as the sender put it; None when it sent none.
    allowed_mentions: Json | None = None
    webhook_id: int | None = None
    #: The picture that a webhook message asked for.
    avatar_url: str | None = None
    application_id: int | None = None
    #: The interaction that this message answers, as Discord describes it on the wire.
    interaction: Json | None = None
    interaction_metadata: Json | None = None
    #: Only this user sees the message (ephemeral); None: everyone in the channel.
    visible_to: int | None = None
    reactions: dict[str, list[int]] = field(default_factory=dict)
    pinned_at: datetime | None = None
    edited_at: datetime | None = None
    thread: Channel | None = None
    at: float = field(default_factory=time.monotonic)
    deleted_at: float | None = None
    history: list[Revision] = field(default_factory=list)

    @property
    def created_at(self) -> datetime:
        return snowflake_time(self.id)

    @property
    def edits(self) -> list[Revision]:
        """The revisions after the first, oldest first."""
        return self.history[1:]

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    @property
    def loading(self) -> bool:
        """True while the message only says "… is thinking"."""
        return bool(self.flags & LOADING)

    @property
    def silent(self) -> bool:
        return bool(self.flags & SUPPRESS_NOTIFICATIONS)

    def record_revision(self) -> None:
        self.history.append(
            Revision(time.monotonic(), self.content, list(self.embeds), list(self.components))
        )

    def __repr__(self) -> str:
        state = " deleted" if self.deleted else " loading" if self.loading else ""
        return f"<Message {self.id} by {self.author.display_name}{state}: {self.content!r}>"


@dataclass(eq=False)
class Thread:
    """What a channel has on top when it is a thread."""

    parent: Channel
    owner_id: int
    created_at: datetime
    member_since: dict[int, datetime] = field(default_factory=dict)
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    auto_archive_minutes: int = 1440
    archive_changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    applied_tags: list[str] = field(default_factory=list)
    sent_in_total: int = 0


@dataclass(eq=False)
class Channel:
    """A guild channel, a thread or a direct message."""

    id: int
    kind: int
    name: str
    guild: Guild | None = None
    position: int = 0
    topic: str | None = None
    nsfw: bool = False
    slowmode: int = 0
    parent_id: int | None = None
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    recipients: list[User] = field(default_factory=list)
    thread: Thread | None = None
    extras: Json = field(default_factory=dict)
    #: Every message that was ever here, by id, deleted and ephemeral ones too; oldest first.
    log: dict[int, Message] = field(default_factory=dict)
    typing: list[Typing] = field(default_factory=list)
    deleted: bool = False
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def mention(self) -> str:
        return f"<#{self.id}>"

    @property
    def is_thread(self) -> bool:
        return self.thread is not None

    def message(self, message_id: int) -> Message | None:
        """The message with that id, if it is still there."""
        message = self.log.get(message_id)
        return None if message is None or message.deleted else message

    def visible(self, user_id: int | None = None) -> list[Message]:
        """What is to be read here, oldest first; ephemeral messages only for their user."""
        return [
            message
            for message in self.log.values()
            if not message.deleted and message.visible_to in (None, user_id)
        ]

    def permissions_of(self, user_id: int) -> int:
        return channel_permissions(self, user_id)

    def __repr__(self) -> str:
        return f"<Channel {self.id} {self.name!r}>"


@dataclass(eq=False)
class Guild:
    id: int
    name: str
    owner: User
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    threads: dict[int, Channel] = field(default_factory=dict)
    banned: set[int] = field(default_factory=set)
    joined_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    locale: str = "en-US"
    available: bool = True
    #: Where Discord, and bots, tell moderators what concerns them.
    updates_channel_id: int | None = None

    def __post_init__(self) -> None:
        # @everyone is a role whose id is the guild's.
        self.roles[self.id] = Role(self.id, "@everyone", EVERYONE, position=0)

    def __repr__(self) -> str:
        return f"<Guild {self.id} {self.name!r}>"


@dataclass(eq=False)
class Webhook:
    id: int
    token: str
    channel: Channel
    name: str
    creator: User
    application_id: int | None
    avatar: str | None = None
