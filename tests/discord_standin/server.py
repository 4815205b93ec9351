"""The stand-in Discord: one aiohttp server, and the test's hold on it."""

# ruff: noqa: ASYNC109 - tests name their own timeouts, and get an AssertionError that says why

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from urllib.parse import quote

from aiohttp import web

from . import (
    rest_application,
    rest_channels,
    rest_guilds,
    rest_messages,
    rest_reactions,
    rest_webhooks,
)
from .actors import Actor
from .commands import CommandRegistry
from .faults import Faults
from .gateway import INVALID_SESSION, RECONNECT, Connection
from .handles import ChannelHandle, GuildHandle, Handles
from .intents import PRIVILEGED, Intent
from .interaction_state import Interaction
from .journal import Journal
from .rate_limits import RateLimits
from .rest import Rest
from .sessions import HeartbeatLog, Session
from .stage import Stage
from .state import Channel, Message, User
from .world import World

#: Room for ten files of 10 MiB, as Discord allows, and their JSON.
_MAX_REQUEST = 101 * 1024 * 1024


class DiscordStandIn:
    """A Discord of its own on 127.0.0.1, for one bot.

    Use it with `async with`. Point discord.py at it with `discord.http.Route.BASE = api_url` and
    `discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)`.

    heartbeat_interval: seconds, as told in HELLO. shards: what GET /gateway/bot recommends.
    close_late_heartbeats: whether a client that misses two heartbeats is closed with 4009.
    interaction_deadline: seconds for an interaction's first callback (Discord: 3).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        bot_name: str = "Troupe",
        token: str = "stand-in.token.for-tests",
        heartbeat_interval: float = 41.25,
        close_late_heartbeats: bool = True,
        shards: int = 1,
        interaction_deadline: float = 3.0,
    ) -> None:
        self.token = token
        self._host = host
        self._port = port
        self._stage = Stage(token=token, bot_name=bot_name, heartbeat_interval=heartbeat_interval)
        self._stage.shards = shards
        self._stage.gateway.close_late_heartbeats = close_late_heartbeats
        self._stage.interactions.deadline = interaction_deadline
        self._handles = Handles(self._stage)
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Binds the port (0: any free one) and serves."""
        rest = Rest(self._stage)
        app = web.Application(middlewares=[rest.middleware], client_max_size=_MAX_REQUEST)
        app.add_routes(
            [
                web.get("/", self._stage.gateway.handle),
                web.get("/attachments/{channel_id}/{attachment_id}/{filename}", self._attachment),
            ]
        )
        for area in (
            rest_reactions,  # before messages: "/messages/pins" is no message id
            rest_messages,
            rest_channels,
            rest_guilds,
            rest_webhooks,
            rest_application,
        ):
            app.add_routes(area.routes(rest))
        app.add_routes([rest.fallback()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]
        self._stage.gateway.resume_url = self.gateway_url
        self._stage.messages.attachment_base = self.base_url

    async def stop(self) -> None:
        for connection in list(self._stage.gateway.connections):
            connection.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> DiscordStandIn:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def api_url(self) -> str:
        """For `discord.http.Route.BASE`."""
        return f"{self.base_url}/api/v10"

    @property
    def gateway_url(self) -> str:
        """For `discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY`."""
        return f"ws://{self._host}:{self._port}/"

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["attachment_id"]
        found = self.world.attachments.get(int(wanted)) if wanted.isdigit() else None
        if found is None:
            raise web.HTTPNotFound
        name = quote(found.filename)
        return web.Response(
            body=found.data,
            content_type=found.content_type.split(";")[0],
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
        )

    # -- what is there ---------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """The records behind everything."""
        return self._stage.world

    @property
    def bot_user(self) -> User:
        return self._stage.world.bot

    @property
    def owner(self) -> Actor:
        """The application's owner; owns the guilds too, unless said otherwise."""
        return self._handles.actor(self._stage.world.owner)

    @property
    def application_id(self) -> int:
        return self._stage.world.application_id

    def add_user(self, username: str, *, display_name: str | None = None) -> Actor:
        return self._handles.actor(self._stage.world.add_user(username, display_name))

    def add_guild(
        self,
        name: str,
        *,
        owner: Actor | None = None,
        members: Iterable[Actor] = (),
        on_shard: tuple[int, int] | None = None,
    ) -> GuildHandle:
        """A server with the bot in it. on_shard: (1, 2) puts it on the second of two shards."""
        ids = self._stage.world.snowflakes
        guild_id = ids.next() if on_shard is None else ids.next_on_shard(*on_shard)
        user = owner.state if owner else self._stage.world.owner
        guild = self._stage.world.add_guild(name, user, guild_id)
        self._stage.broadcast.guild_joined(guild)
        handle = self._handles.guild(guild)
        for actor in members:
            handle.join(actor)
        return handle

    def channel(self, which: Channel | int) -> ChannelHandle:
        """The handle of a channel or thread, e.g. of `message.channel` or `message.thread`."""
        return self._handles.channel(
            self._stage.world.channels[which] if isinstance(which, int) else which
        )

    @property
    def guilds(self) -> list[GuildHandle]:
        return [self._handles.guild(guild) for guild in self._stage.world.guilds.values()]

    # -- what happened ---------------------------------------------------------------------------

    @property
    def faults(self) -> Faults:
        return self._stage.faults

    @property
    def rate_limits(self) -> RateLimits:
        return self._stage.rate_limits

    @property
    def requests(self) -> Journal:
        """Every REST request, in order."""
        return self._stage.journal

    @property
    def commands(self) -> CommandRegistry:
        return self._stage.commands

    @property
    def interactions(self) -> list[Interaction]:
        return self._stage.interactions.all

    @property
    def heartbeats(self) -> list[HeartbeatLog]:
        """One log per gateway connection that got as far as a session, oldest first."""
        return self._stage.gateway.heartbeats

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are connected, by shard."""
        live = [s for s in self._stage.gateway.sessions.values() if s.connected]
        return sorted(live, key=lambda session: session.shard)

    @property
    def connections(self) -> list[Connection]:
        """The gateway connections that are open; `.cut()` ends one without a goodbye."""
        return self._stage.gateway.connections

    @property
    def identifies(self) -> int:
        """How many sessions were started so far."""
        return self._stage.gateway.identifies

    @property
    def resumes(self) -> int:
        """How often a session was resumed so far."""
        return self._stage.gateway.resumes

    @property
    def closures(self) -> list[tuple[int | None, int]]:
        """(shard, close code) of every gateway connection that ended; 1006: without a goodbye."""
        return self._stage.gateway.closures

    @property
    def interaction_deadline(self) -> float:
        """Seconds that the bot has for an interaction's first callback."""
        return self._stage.interactions.deadline

    @interaction_deadline.setter
    def interaction_deadline(self, seconds: float) -> None:
        self._stage.interactions.deadline = seconds

    # -- waiting for the bot ---------------------------------------------------------------------

    def _all_shards_up(self) -> bool:
        live = self.sessions
        return bool(live) and {s.shard for s in live} >= set(range(live[-1].shard_count))

    async def wait_ready(self, timeout: float = 15.0, *, commands: bool = False) -> list[Session]:
        """Until every shard has a session; with `commands`, until some were synced as well."""
        await self.wait_gateway(self._all_shards_up, timeout, "every shard connected")
        if commands:
            await self.wait_synced(1, timeout)
        return self.sessions

    async def wait_synced(self, count: int = 1, timeout: float = 15.0) -> None:
        """Until commands have been overwritten that many times, counted from the start."""
        registry = self._stage.commands
        await registry.pulse.until(
            lambda: sum(registry.syncs.values()) >= count, timeout, lambda: f"{registry.syncs}"
        )

    async def wait_gone(self, timeout: float = 10.0) -> None:
        """Until the bot has no gateway connection left."""
        await self.wait_gateway(
            lambda: not self._stage.gateway.connections, timeout, "no connection left"
        )

    async def wait_resumed(self, count: int = 1, timeout: float = 15.0) -> None:
        """Until sessions have been resumed that many times, counted from the start."""
        await self.wait_gateway(lambda: self.resumes >= count, timeout, f"{count} resumes")

    async def wait_identified(self, count: int = 1, timeout: float = 15.0) -> None:
        """Until that many sessions have been started, counted from the start."""
        await self.wait_gateway(
            lambda: self.identifies >= count and self._all_shards_up(),
            timeout,
            f"{count} identifies",
        )

    async def wait_gateway(
        self, condition: Callable[[], object], timeout: float, what: str = "a condition"
    ) -> None:
        """Until `condition()` is true; asked whenever a frame arrives or a connection changes."""
        gateway = self._stage.gateway
        await gateway.pulse.until(
            condition,
            timeout,
            lambda: f"{what}; identifies {gateway.identifies}, closures {gateway.closures}",
        )

    async def wait_message(self, *, after: Message | None = None, timeout: float = 5.0) -> Message:
        """The bot's (or its webhooks') next message, in whatever channel it appears."""
        beyond = after.id if after else 0

        def found() -> Message | None:
            for channel in self._stage.world.channels.values():
                for message in channel.visible():
                    ours = message.application_id == self.application_id
                    if message.id > beyond and (ours or message.author is self.bot_user):
                        return message
            return None

        return await self.world.pulse.until(found, timeout, lambda: "the bot said nothing")

    # -- trouble ---------------------------------------------------------------------------------

    def _connections(self, shard: int | None) -> list[Connection]:
        return [
            connection
            for connection in self._stage.gateway.connections
            if connection.session and shard in (None, connection.session.shard)
        ]

    async def reconnect_all(self, shard: int | None = None) -> None:
        """Opcode 7: asks the clients to reconnect and resume."""
        for connection in self._connections(shard):
            connection.send_op(RECONNECT)

    async def invalidate_sessions(
        self, *, resumable: bool = False, shard: int | None = None
    ) -> None:
        """Opcode 9; not resumable: the session is forgotten, and the client identifies again."""
        for connection in self._connections(shard):
            session = connection.session
            if not resumable and session is not None:
                self._stage.gateway.sessions.pop(session.id, None)
            connection.send_op(INVALID_SESSION, resumable)

    async def drop_connections(self, code: int = 1006, shard: int | None = None) -> None:
        """Closes the websockets with that code; 1006 cuts the line without a word."""
        for connection in self._connections(shard):
            connection.close(code)

    def forget_sessions(self) -> None:
        """Nothing can be resumed any more: the next RESUME is answered with opcode 9."""
        self._stage.gateway.sessions.clear()

    def disallow_intents(self, *names: str) -> None:
        """IDENTIFY with such an intent ("message_content" …) is refused with 4014."""
        for name in names:
            self._stage.gateway.granted &= ~Intent[name.upper()]

    def allow_intents(self) -> None:
        self._stage.gateway.granted = PRIVILEGED

    def withhold_heartbeat_acks(self, withheld: bool = True) -> None:
        """Heartbeats go unanswered: to the client, a zombie connection."""
        self._stage.gateway.acknowledge = not withheld

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Discord is gone: connections cut, the port closed; afterwards it is back on it."""
        assert self._site is not None
        await self._site.stop()
        for connection in list(self._stage.gateway.connections):
            connection.cut()
        await asyncio.sleep(0)
        try:
            yield
        finally:
            await self._listen()
