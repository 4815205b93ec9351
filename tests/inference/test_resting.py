"""The client hands its devices over and takes them back, with a real worker process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from config import InferenceSettings, RemoteSettings
from inference.client import InferenceClient
from inference.gpu_lease import is_served, rehearsal
from inference.types import Chunk, GenerationRequest, Message, Sampling
from tests.conftest import config_in
from tests.inference.conftest import tiny_config


@pytest.fixture(scope="module")
async def resting_client(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[InferenceClient, Path]]:
    data = tmp_path_factory.mktemp("resting")
    client = InferenceClient(tiny_config(data, tiny_folder, rows=1))
    async with asyncio.timeout(120):
        await client.start()
    yield client, data
    await client.close()


def _ask(tokens: int, **more: str) -> GenerationRequest:
    sampling = Sampling(temperature=1, max_new_tokens=tokens, seed=5)
    return GenerationRequest(
        messages=(Message(role="user", content="hi"),), sampling=sampling, **more
    )


async def _reply(client: InferenceClient, request: GenerationRequest) -> Chunk:
    return [chunk async for chunk in client.generate(request)][-1]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def _awake(client: InferenceClient) -> None:
    client.wake()
    await _until(lambda: client.status().state == "ready")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_rest_lets_replies_end_keeps_who_waits_and_answers_after_waking(
    resting_client: tuple[InferenceClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, data = resting_client
    [worker] = client.worker_pids
    assert client.shares_devices
    assert is_served(data)
    running = asyncio.create_task(_reply(client, _ask(300, id="running")))
    await _until(lambda: client.status().running == 1)
    waiting = asyncio.create_task(_reply(client, _ask(5, id="waiting")))
    await _until(lambda: client.status().waiting == 1)
    resting = asyncio.create_task(client.rest())
    assert (await running).finish_reason in ("stop", "length")
    await resting
    assert client.status().state == "resting"
    assert client.worker_pids == []
    assert not _is_alive(worker)
    assert not is_served(data)
    # While it rests a training has the device, and nobody's time runs out.
    with rehearsal(data, patience_seconds=0), monkeypatch.context() as hurried:
        hurried.setattr(client._deadlines, "_seconds", 0.02)
        late = asyncio.create_task(_reply(client, _ask(5, id="late")))
        given_up = asyncio.create_task(_reply(client, _ask(5, id="given up")))
        await _until(lambda: client.status().waiting == 3)
        client.cancel("given up")
        assert (await given_up).finish_reason == "cancelled"
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert not late.done()
        assert client.place("waiting") == 1
        assert client.place("late") == 2
    await _awake(client)
    assert (await waiting).finish_reason in ("stop", "length")
    assert (await late).finish_reason in ("stop", "length")
    assert is_served(data)
    assert client.status().restarts == 0
    assert client.worker_pids not in ([], [worker])


async def test_a_rest_that_is_called_off_while_replies_end_costs_nothing(
    resting_client: tuple[InferenceClient, Path],
) -> None:
    client, _ = resting_client
    [worker] = client.worker_pids
    running = asyncio.create_task(_reply(client, _ask(300)))
    await _until(lambda: client.status().running == 1)
    resting = asyncio.create_task(client.rest())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(_reply(client, _ask(5)))
    client.wake()
    await resting
    assert (await running).finish_reason in ("stop", "length")
    assert (await waiting).finish_reason in ("stop", "length")
    assert client.worker_pids == [worker]


async def test_a_worker_that_dies_while_its_replies_end_loses_none_of_them(
    resting_client: tuple[InferenceClient, Path],
) -> None:
    client, _ = resting_client
    [worker] = client.worker_pids
    running = asyncio.create_task(_reply(client, _ask(800)))
    await _until(lambda: client.status().running == 1)
    resting = asyncio.create_task(client.rest())
    await asyncio.sleep(0)
    os.kill(worker, signal.SIGKILL)
    await resting
    assert client.status().waiting == 1
    assert client.worker_pids == []
    await _awake(client)
    assert (await running).finish_reason in ("stop", "length")


async def test_servers_elsewhere_have_no_rest(tmp_path: Path) -> None:
    config = config_in(
        tmp_path,
        inference=InferenceSettings(engine="openai"),
        remote=RemoteSettings(urls=["http://127.0.0.1:9/v1"]),
    )
    client = InferenceClient(config)
    assert not client.shares_devices
    await client.rest()
    assert client.status().state == "loading"
    client.wake()
    assert client.status().state == "loading"


async def test_closing_ends_a_rest_and_who_waited(tmp_path: Path, tiny_folder: Path) -> None:
    client = InferenceClient(tiny_config(tmp_path, tiny_folder))
    async with asyncio.timeout(120):
        await client.start()
    await client.rest()
    waiting = asyncio.create_task(_reply(client, _ask(5)))
    await _until(lambda: client.status().waiting == 1)
    await client.close()
    assert (await waiting).finish_reason == "cancelled"
    client.wake()
    assert client.worker_pids == []
    assert client.status().state == "closed"
