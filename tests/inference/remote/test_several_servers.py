"""The client over several servers: a channel stays with one, and what one loses another writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config import Config, InferenceSettings, PathSettings, RemoteSettings
from inference.client import InferenceClient
from inference.types import Chunk, GenerationRequest, Message
from tests.inference.remote.server import (
    MisbehavingServer,
    delta,
    hanging,
    reply,
    sse,
    stream,
)


@pytest.fixture
async def servers() -> AsyncIterator[list[MisbehavingServer]]:
    servers = [MisbehavingServer(), MisbehavingServer()]
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        await server.stop()


@pytest.fixture
async def client(
    servers: list[MisbehavingServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[InferenceClient]:
    monkeypatch.setattr("inference.remote.backend._FIRST_BACKOFF_SECONDS", 0.002)
    monkeypatch.setattr("inference.remote.backend._LONGEST_POLL_SECONDS", 0.02)
    config = Config(
        paths=PathSettings(data=tmp_path),
        inference=InferenceSettings(engine="openai"),
        remote=RemoteSettings(urls=[server.url for server in servers], capacity=2, retries=1),
    )
    client = InferenceClient(config)
    await client.start()
    yield client
    await client.close()


async def said(client: InferenceClient, channel: str) -> list[Chunk]:
    hello = Message(role="user", content="Hi")
    request = GenerationRequest(messages=(hello,), channel=channel)
    async with asyncio.timeout(20):
        return [chunk async for chunk in client.generate(request)]


async def test_a_channel_stays_with_its_server(
    client: InferenceClient, servers: list[MisbehavingServer]
) -> None:
    for _ in range(4):
        chunks = await said(client, "tavern")
        assert "".join(chunk.text for chunk in chunks) == "Hello"
        assert chunks[-1].finish_reason == "stop"
    assert sorted(len(server.visits) for server in servers) == [0, 4]


async def test_many_channels_use_all_servers(
    client: InferenceClient, servers: list[MisbehavingServer]
) -> None:
    replies = await asyncio.gather(*(said(client, f"room {n}") for n in range(12)))
    assert {chunks[-1].finish_reason for chunks in replies} == {"stop"}
    assert all(len(server.visits) >= 2 for server in servers)


async def test_what_a_lost_server_held_is_written_by_another(
    client: InferenceClient, servers: list[MisbehavingServer]
) -> None:
    await said(client, "tavern")
    home, other = sorted(servers, key=lambda server: -len(server.visits))
    home.play(hanging())
    other.play(stream(reply("From", " here")))
    waiting = asyncio.create_task(said(client, "tavern"))
    await home.visited(2)
    await home.stop()
    chunks = await waiting
    assert "".join(chunk.text for chunk in chunks) == "From here"
    assert (chunks[-1].finish_reason, client.status().state) == ("stop", "ready")
    assert client.status().restarts == 1
    home.play(stream(reply("Back")))
    await home.start()
    async with asyncio.timeout(20):
        while any(backend != "ready" for backend in states(client)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def states(client: InferenceClient) -> list[str]:
    return [desk.backend.state for desk in client._desks]


async def test_leaving_a_stream_hangs_up(
    client: InferenceClient, servers: list[MisbehavingServer]
) -> None:
    for server in servers:
        server.play(hanging(sse(delta("One"), done=False)))
    stream_ = client.generate(GenerationRequest(messages=(Message(role="user", content="Hi"),)))
    assert (await anext(stream_)).text == "One"
    await stream_.aclose()
    (visit,) = [visit for server in servers for visit in server.visits]
    await asyncio.wait_for(visit.gone.wait(), 20)
    async with asyncio.timeout(20):
        while client.status().running:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
