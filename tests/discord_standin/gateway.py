"""The gateway: websocket connections, and the opcodes that a client speaks on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from .compression import encoder_for
from .intents import KNOWN_BITS, PRIVILEGED, Intent
from .sessions import Heartbeat, HeartbeatLog, Session
from .state import Json
from .waiting import Pulse

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE_STATE, RESUME = 0, 1, 2, 3, 4, 6
RECONNECT, REQUEST_MEMBERS, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 7, 8, 9, 10, 11

#: How long (s) a session waits for a resume, as on Discord: a few minutes at most.
RESUME_WINDOW = 180.0

Greeting = Callable[[Session], list[tuple[str, Json]]]
MemberRequest = Callable[[Session, Json], None]


class Connection:
    """One websocket. Frames leave in order through a queue, so that senders never wait."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Raises ValueError for a compression that the stand-in does not speak."""
        self.socket = socket
        self._request = request
        self._encode = encoder_for(request.query.get("compress"))
        self._outgoing: asyncio.Queue[str | tuple[int, bytes]] = asyncio.Queue()
        self.session: Session | None = None
        self.log: HeartbeatLog | None = None
        self.closed_with: int | None = None  # the code of our own goodbye

    def send(self, frame: str) -> None:
        self._outgoing.put_nowait(frame)

    def send_op(self, op: int, data: Any = None) -> None:
        self.send(json.dumps({"op": op, "d": data, "s": None, "t": None}))

    def close(self, code: int, reason: str = "") -> None:
        """Closes after everything that was sent before; 1006 cuts the line without a goodbye."""
        self.closed_with = code
        self._outgoing.put_nowait((code, reason.encode()))

    async def pump(self) -> None:
        """Writes the queue to the socket until it closes."""
        while True:
            frame = await self._outgoing.get()
            if isinstance(frame, tuple):
                code, reason = frame
                if code == 1006:
                    self.cut()
                else:
                    await self.socket.close(code=code, message=reason)
                return
            encoded = self._encode(frame)
            if isinstance(encoded, bytes):
                await self.socket.send_bytes(encoded)
            else:
                await self.socket.send_str(encoded)

    def cut(self) -> None:
        """Drops the TCP connection, as a dead network does."""
        if self._request.transport is not None:
            self._request.transport.abort()


class Gateway:
    """All connections and sessions of the bot."""

    def __init__(
        self, *, token: str, heartbeat_interval: float, greeting: Greeting, members: MemberRequest
    ) -> None:
        self.token = token
        self.heartbeat_interval = heartbeat_interval
        self.granted = PRIVILEGED  # the privileged intents that the developer portal allows
        self.acknowledge = True
        self.close_late_heartbeats = True
        self.sessions: dict[str, Session] = {}
        self.connections: list[Connection] = []
        self.heartbeats: list[HeartbeatLog] = []
        self.received: list[Json] = []
        self.closures: list[tuple[int | None, int]] = []
        self.identifies = 0
        self.resumes = 0
        self.pulse = Pulse()
        self.resume_url = ""
        self._greeting = greeting
        self._members = members

    # -- events to sessions ----------------------------------------------------------------------

    def hearing(self, guild_id: int | None, intent: Intent) -> list[Session]:
        """The sessions that an event is for, connected or waiting to be resumed."""
        self._forget_expired()
        return [session for session in self.sessions.values() if session.hears(guild_id, intent)]

    def dispatch(self, event: str, data: Json, guild_id: int | None, intent: Intent) -> None:
        sessions = self.hearing(guild_id, intent)
        if sessions:
            text = json.dumps(data)
            for session in sessions:
                session.push(event, text)

    def _forget_expired(self) -> None:
        before = time.monotonic() - RESUME_WINDOW
        for session in list(self.sessions.values()):
            if session.disconnected_at is not None and session.disconnected_at < before:
                del self.sessions[session.id]

    # -- one connection --------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0, autoclose=True)
        try:
            connection = Connection(socket, request)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        await socket.prepare(request)
        self.connections.append(connection)
        writer = asyncio.create_task(connection.pump())
        watch = asyncio.create_task(self._watch_heartbeats(connection))
        connection.log = HeartbeatLog(-1, self.heartbeat_interval)
        connection.send_op(
            HELLO, {"heartbeat_interval": self.heartbeat_interval * 1000, "_trace": ["stand-in"]}
        )
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    connection.close(4002, "Error while decoding payload.")
                    continue
                self._receive(connection, message.data)
        except ConnectionError:
            pass  # the client died in mid-frame; the same as having gone
        finally:
            self._disconnected(connection)
            if connection.closed_with:  # let our own goodbye out first
                await asyncio.wait([writer], timeout=1)
            for task in (writer, watch):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await task
        return socket

    def _disconnected(self, connection: Connection) -> None:
        self.connections.remove(connection)
        # aiohttp reports 1000 for a connection that this side closed, whatever the code was.
        code = connection.closed_with or connection.socket.close_code
        if connection.log is not None:
            connection.log.closed_at = time.monotonic()
        session = connection.session
        self.closures.append((session.shard if session else None, int(code or 1006)))
        if session is not None and session.connection is connection:
            session.connection = None
            session.disconnected_at = time.monotonic()
            # A client that says goodbye does not come back; a connection that we closed may.
            if code in (1000, 1001) and not connection.closed_with:
                self.sessions.pop(session.id, None)
        self.pulse.fire()

    async def _watch_heartbeats(self, connection: Connection) -> None:
        """Closes a connection (4009) that has not beaten for two intervals, as Discord does."""
        while True:
            await asyncio.sleep(self.heartbeat_interval / 2)
            log = connection.log
            if (
                self.close_late_heartbeats
                and log is not None
                and log.latest_gap() > 2 * self.heartbeat_interval
            ):
                connection.close(4009, "Session timed out.")
                return

    def _receive(self, connection: Connection, text: str) -> None:
        try:
            frame: Json = json.loads(text)
            op: int = frame["op"]
            data: Any = frame.get("d")
        except (ValueError, TypeError, KeyError):
            connection.close(4002, "Error while decoding payload.")
            return
        self.received.append(frame)
        if op == HEARTBEAT:
            self._heartbeat(connection, data)
        elif op == IDENTIFY:
            self._identify(connection, data)
        elif op == RESUME:
            self._resume(connection, data)
        elif op not in (PRESENCE, VOICE_STATE, REQUEST_MEMBERS):
            connection.close(4001, "Unknown opcode.")
        elif connection.session is None:
            connection.close(4003, "Not authenticated.")
        elif op == PRESENCE:
            connection.session.presence = data
        elif op == REQUEST_MEMBERS:
            self._members(connection.session, data)
        self.pulse.fire()

    def _heartbeat(self, connection: Connection, sequence: int | None) -> None:
        assert connection.log is not None
        beat = Heartbeat(time.monotonic(), sequence, None)
        connection.log.beats.append(beat)
        if self.acknowledge:
            connection.send_op(HEARTBEAT_ACK)
            beat.acknowledged_at = time.monotonic()

    def _identify(self, connection: Connection, data: Json) -> None:
        if connection.session is not None:
            connection.close(4005, "Already authenticated.")
            return
        if data.get("token") != self.token:
            connection.close(4004, "Authentication failed.")
            return
        shard, shard_count = data.get("shard") or (0, 1)
        if not 0 <= shard < shard_count:
            connection.close(4010, "Invalid shard.")
            return
        bits = data.get("intents", 0)
        if bits & ~KNOWN_BITS:
            connection.close(4013, "Invalid intent(s).")
            return
        if bits & PRIVILEGED & ~self.granted:
            connection.close(4014, "Disallowed intent(s).")
            return
        session = Session(shard, shard_count, Intent(bits), data.get("large_threshold", 50))
        session.presence = data.get("presence")
        self.sessions[session.id] = session
        self.identifies += 1
        self._attach(connection, session)
        for event, payload in self._greeting(session):
            session.push(event, json.dumps(payload))

    def _resume(self, connection: Connection, data: Json) -> None:
        if data.get("token") != self.token:
            connection.close(4004, "Authentication failed.")
            return
        self._forget_expired()
        session = self.sessions.get(data.get("session_id") or "")
        missed = None if session is None else session.missed_since(data.get("seq") or 0)
        if session is None or missed is None:
            connection.send_op(INVALID_SESSION, False)
            return
        if session.connection is not None:  # the old line may be dead without our knowing
            session.connection.session = None
            session.connection.close(4000, "Session resumed elsewhere.")
        self.resumes += 1
        session.resumed += 1
        self._attach(connection, session)
        for frame in missed:
            connection.send(frame)
        session.push("RESUMED", '{"_trace":["stand-in"]}')

    def _attach(self, connection: Connection, session: Session) -> None:
        connection.session = session
        session.connection = connection
        session.disconnected_at = None
        assert connection.log is not None
        connection.log.shard = session.shard
        if connection.log not in self.heartbeats:
            self.heartbeats.append(connection.log)
