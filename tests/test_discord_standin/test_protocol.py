"""The gateway's protocol without discord.py in between: frames, close codes, ids, permissions."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle
from tests.discord_standin.permissions import Permission, permission_bits
from tests.discord_standin.snowflakes import Snowflakes, snowflake_time

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def socket(standin: DiscordStandIn) -> AsyncIterator[Socket]:
    """A connection that has read HELLO, uncompressed."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(standin.gateway_url + "?v=10&encoding=json") as connection,
    ):
        hello = await connection.receive_json()
        assert (hello["op"], hello["d"]["heartbeat_interval"]) == (10, 41250.0)
        yield connection


def identify(token: str, **more: Any) -> dict[str, Any]:
    return {"op": 2, "d": {"token": token, "intents": 513, "properties": {}, **more}}


async def close_code(socket: Socket) -> int | None:
    while True:
        message = await socket.receive(timeout=5)
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            return socket.close_code


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": 99, "d": None}, 4001),
        ({"no": "op"}, 4002),
        ({"op": 3, "d": {}}, 4003),
        (identify("wrong"), 4004),
        ({"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}, 4004),
        (identify("TOKEN", shard=[2, 2]), 4010),
        (identify("TOKEN", intents=1 << 30), 4013),
    ],
)
async def test_close_codes(
    standin: DiscordStandIn, socket: Socket, frame: dict[str, Any], code: int
) -> None:
    if frame.get("d") and frame["d"].get("token") == "TOKEN":
        frame = {**frame, "d": {**frame["d"], "token": standin.token}}
    await socket.send_json(frame)
    assert await close_code(socket) == code


async def test_identify_twice(standin: DiscordStandIn, socket: Socket) -> None:
    await socket.send_json(identify(standin.token))
    ready = await socket.receive_json()
    assert (ready["t"], ready["s"], ready["d"]["guilds"]) == ("READY", 1, [])
    await socket.send_json({"op": 1, "d": 1})
    assert (await socket.receive_json())["op"] == 11
    await socket.send_json(identify(standin.token))
    assert await close_code(socket) == 4005


async def test_resume_of_what_is_unknown(standin: DiscordStandIn, socket: Socket) -> None:
    frame = {"op": 6, "d": {"token": standin.token, "session_id": "nothing", "seq": 5}}
    await socket.send_json(frame)
    answer = await socket.receive_json()
    assert (answer["op"], answer["d"]) == (9, False)


async def test_zlib_stream(standin: DiscordStandIn) -> None:
    async with aiohttp.ClientSession() as session:
        url = standin.gateway_url + "?compress=zlib-stream"
        async with session.ws_connect(url) as connection:
            data = await connection.receive_bytes()
            assert data.endswith(b"\x00\x00\xff\xff")
            assert b'"op": 10' in zlib.decompressobj().decompress(data)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(standin.gateway_url + "?compress=zstd-stream")


async def test_rest_without_a_token(standin: DiscordStandIn) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(standin.api_url + "/users/@me") as response:
            assert response.status == 401
            assert await response.json() == {"message": "401: Unauthorized", "code": 0}
        async with session.get(standin.base_url + "/attachments/1/2/x.txt") as response:
            assert response.status == 404


def test_snowflakes_only_grow() -> None:
    ids = Snowflakes()
    made = [ids.next() for _ in range(10_000)]
    assert made == sorted(set(made))
    # More ids than a millisecond holds borrow from the next; here by a few milliseconds at most.
    assert abs(snowflake_time(made[-1]).timestamp() - time.time()) < 0.5


@given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_guild_on_its_shard(place: tuple[int, int]) -> None:
    shard, count = place
    assert (Snowflakes().next_on_shard(shard, count) >> 22) % count == shard


async def test_overwrites_add_up(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle, alice: Actor
) -> None:
    may = general.state.permissions_of
    assert may(alice.id) & Permission.SEND_MESSAGES
    general.overwrite(guild.everyone, deny=["send_messages", "add_reactions"])
    assert not may(alice.id) & Permission.SEND_MESSAGES
    role = guild.add_role("Cast")
    guild.give(alice, role)
    general.overwrite(role, allow="send_messages")
    assert may(alice.id) & Permission.SEND_MESSAGES
    general.overwrite(alice, deny="send_messages")
    assert not may(alice.id) & permission_bits(["send_messages", "add_reactions"])
    guild.set_permissions(role, "administrator")
    assert may(alice.id) & Permission.SEND_MESSAGES
    assert may(standin.add_user("stranger").id) == 0
