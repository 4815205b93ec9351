"""The parts of one stand-in, wired once, for the routes and the actors."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from .bodies import Body
from .broadcast import Broadcast
from .commands import CommandRegistry
from .errors import missing_access, missing_permissions
from .faults import Faults
from .gateway import Gateway
from .intents import Intent
from .interactions import Interactions
from .journal import Journal
from .message_payloads import MessagePayloads
from .payloads import Payloads
from .permissions import Permission, channel_permissions, guild_permissions
from .posting import Posting
from .rate_limits import RateLimits
from .sessions import Session
from .state import Channel, Guild, Json, Message
from .threads import Threads
from .world import World


class Stage:
    """Everything that a request or an actor may need."""

    def __init__(self, *, token: str, bot_name: str, heartbeat_interval: float) -> None:
        self.token = token
        self.shards = 1  # what GET /gateway/bot recommends
        self.max_concurrency = 1
        self.world = World(bot_name)
        self.faults = Faults()
        self.journal = Journal()
        self.rate_limits = RateLimits()
        self.payloads = Payloads(self.world)
        self.messages = MessagePayloads(self.world, self.payloads)
        self.commands = CommandRegistry(self.world.snowflakes, self.world.application_id)
        self.gateway = Gateway(
            token=token,
            heartbeat_interval=heartbeat_interval,
            greeting=self._greeting,
            members=self._members,
        )
        self.broadcast = Broadcast(self.world, self.gateway, self.payloads, self.messages)
        self.posting = Posting(self.world, self.broadcast)
        self.threads = Threads(self.world, self.broadcast, self.posting)
        self.interactions = Interactions(
            self.world, self.broadcast, self.posting, self.payloads, self.messages
        )

    def _greeting(self, session: Session) -> list[tuple[str, Json]]:
        return self.broadcast.greeting(session, self.gateway.resume_url)

    def _members(self, session: Session, request: Json) -> None:
        self.broadcast.members_requested(session, request)

    def message_json(self, message: Message) -> Json:
        """A message as REST shows it to the bot."""
        granted = bool(self.gateway.granted & Intent.MESSAGE_CONTENT)
        return self.messages.message(message, content=granted)


BODY = web.RequestKey("body", Body)


@dataclass
class Call:
    """One request, opened up: what the handlers look at."""

    stage: Stage
    request: web.Request

    @property
    def body(self) -> Body:
        return self.request[BODY]

    @property
    def json(self) -> Json:
        """The body as an object; {} when it is none."""
        return self.body.json if isinstance(self.body.json, dict) else {}

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query)

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    def channel(self, *needs: Permission) -> Channel:
        """The channel of the path. Raises 10003, 50001 (cannot see it) or 50013 (may not)."""
        channel = self.stage.world.channel(self.path("channel_id"))
        self.require(channel, *needs)
        return channel

    def require(self, channel: Channel, *needs: Permission) -> None:
        """Raises unless the bot may do all that in the channel."""
        bits = channel_permissions(channel, self.stage.world.bot.id)
        if not bits & Permission.VIEW_CHANNEL:
            raise missing_access()
        if any(not bits & need for need in needs):
            raise missing_permissions()

    def bot_may(self, channel: Channel, need: Permission) -> bool:
        return bool(channel_permissions(channel, self.stage.world.bot.id) & need)

    def message(self, channel: Channel) -> Message:
        return self.stage.world.message(channel, self.path("message_id"))

    def guild(self, *needs: Permission) -> Guild:
        """The guild of the path. Raises 10004, 50001 or 50013."""
        world = self.stage.world
        guild = world.guild(self.path("guild_id"))
        member = guild.members.get(world.bot.id)
        if member is None:
            raise missing_access()
        bits = guild_permissions(guild, member)
        if any(not bits & need for need in needs):
            raise missing_permissions()
        return guild
