"""A promotion while replies are being written, on a real worker process with a tiny LLaMA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from inference.client import InferenceClient
from inference.model_loading import LoadedModel
from inference.types import Chunk, GenerationRequest, Message, Sampling
from tests.conftest import MakeAdapter
from tests.inference.conftest import tiny_config

_LONG = Sampling(temperature=0, max_new_tokens=120)


@pytest.fixture(scope="module")
async def alone(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InferenceClient]:
    """Its worker writes one reply at a time, so that the same is said in the same letters."""
    client = InferenceClient(tiny_config(tmp_path_factory.mktemp("alone"), tiny_folder, rows=1))
    async with asyncio.timeout(240):
        await client.start()
    yield client
    await client.close()


def _request(adapter: str) -> GenerationRequest:
    message = Message(role="user", content="tell me a story")
    return GenerationRequest(messages=(message,), sampling=_LONG, adapter=adapter)


async def _ended(stream: AsyncGenerator[Chunk, None], said: str = "") -> tuple[str, str]:
    """The version that answered, and what it said in all."""
    last = Chunk()
    async for last in stream:
        said += last.text
    assert last.finish_reason in ("stop", "length")
    return last.adapter, said


async def test_replies_in_flight_end_on_the_version_that_they_began_with(
    alone: InferenceClient, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    registry = alone.adapters
    make_adapter(tiny, registry, "captain", seed=1)
    make_adapter(tiny, registry, "captain", seed=2)
    registry.promote("captain", 1)
    first = await _ended(alone.generate(_request("captain@1")))
    second = await _ended(alone.generate(_request("captain@2")))
    assert (first[0], second[0]) == ("captain@1", "captain@2")
    assert first[1] != second[1]

    running = alone.generate(_request("captain"))
    begun = await anext(running)
    waiting = asyncio.create_task(_ended(alone.generate(_request("captain"))))
    await asyncio.sleep(0)
    assert (alone.status().running, alone.status().waiting) == (1, 1)
    registry.promote("captain", 2, by="test")
    after = asyncio.create_task(_ended(alone.generate(_request("captain"))))
    await asyncio.sleep(0)
    registry.rollback("captain", by="test")
    back = asyncio.create_task(_ended(alone.generate(_request("captain"))))

    assert await _ended(running, begun.text) == first
    assert list(await asyncio.gather(waiting, after, back)) == [first, second, first]
    assert alone.status().restarts == 0


async def test_a_trial_reaches_its_channels_and_its_end_the_others(
    alone: InferenceClient, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    registry = alone.adapters
    make_adapter(tiny, registry, "mate", seed=3)
    make_adapter(tiny, registry, "mate", seed=4)
    registry.promote("mate", 1)
    canary = registry.begin_canary("mate", 2, share=0.5, until=2e9)
    keys = [f"discord:{number}" for number in range(40)]
    trying = next(key for key in keys if canary.includes("mate", key))
    other = next(key for key in keys if not canary.includes("mate", key))

    def asked(channel: str) -> AsyncGenerator[Chunk, None]:
        return alone.generate(_request(registry.serving("mate", channel)))

    tried, usual = await asyncio.gather(_ended(asked(trying)), _ended(asked(other)))
    assert (tried[0], usual[0]) == ("mate@2", "mate@1")
    running = asked(other)
    begun = await anext(running)
    registry.promote("mate", 2, by="test", expected=1)
    assert await _ended(running, begun.text) == usual
    assert await _ended(asked(other)) == tried
