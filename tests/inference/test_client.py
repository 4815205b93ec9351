"""The client against a real worker process that holds a tiny LLaMA."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import ModelSettings
from inference.adapters import AdapterError, AdapterRegistry
from inference.client import InferenceClient
from inference.model_loading import LoadedModel
from inference.types import (
    Chunk,
    GenerationRequest,
    InferenceError,
    Message,
    RequestRefused,
    Sampling,
)
from tests.conftest import MakeAdapter, config_in
from tests.inference.conftest import tiny_config

_LONG = Sampling(temperature=1, max_new_tokens=1900, seed=5)


def _request(
    text: str = "hi", *, sampling: Sampling | None = None, **keys: str
) -> GenerationRequest:
    sampling = sampling or Sampling(temperature=1, max_new_tokens=20)
    return GenerationRequest(
        messages=(Message(role="user", content=text),), sampling=sampling, **keys
    )


async def _collect(client: InferenceClient, request: GenerationRequest) -> list[Chunk]:
    return [chunk async for chunk in client.generate(request)]


def _text(chunks: list[Chunk]) -> str:
    text = ""
    for chunk in chunks:
        text = "" if chunk.restart else text + chunk.text
    return text


async def test_a_stream_ends_once_with_its_figures(client: InferenceClient) -> None:
    chunks = await _collect(client, _request())
    assert [chunk.finish_reason is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [
        True
    ]
    last = chunks[-1]
    assert last.finish_reason in ("stop", "length")
    assert last.adapter == "base"
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert last.usage.first_token_seconds <= last.usage.total_seconds
    assert client.status().running == 0


async def test_a_seed_gives_the_same_reply_through_the_whole_chain(
    client: InferenceClient,
) -> None:
    sampling = Sampling(temperature=1, max_new_tokens=30, seed=11)
    first = await _collect(client, _request(sampling=sampling))
    again = await _collect(client, _request(sampling=sampling))
    other = await _collect(client, _request(sampling=sampling.replace(seed=12)))
    assert _text(first) == _text(again) != _text(other)


async def test_many_requests_are_all_answered(client: InferenceClient) -> None:
    requests = [_request(str(i), guild=str(i % 3), user=str(i)) for i in range(12)]
    replies = await asyncio.gather(*(_collect(client, request) for request in requests))
    assert all(chunks[-1].finish_reason in ("stop", "length") for chunks in replies)
    status = client.status()
    assert (status.waiting, status.running, status.state) == (0, 0, "ready")
    assert status.engines[0].generated_tokens > 0


async def test_log_probabilities_come_when_asked_for(client: InferenceClient) -> None:
    sampling = Sampling(temperature=0, max_new_tokens=12, logprobs=3)
    chunks = await _collect(client, _request("how likely", sampling=sampling))
    tokens = [entry for chunk in chunks for entry in chunk.logprobs]
    assert chunks[-1].usage is not None
    assert len(tokens) == chunks[-1].usage.completion_tokens
    for entry in tokens:
        assert entry.top[0] == (entry.token, entry.logprob)  # greedy: the likeliest was taken
        assert [logprob for _, logprob in entry.top] == sorted((p for _, p in entry.top))[::-1]
    quiet = await _collect(client, _request("how likely"))
    assert not any(chunk.logprobs for chunk in quiet)


async def test_a_stop_string_ends_the_reply_and_is_not_shown(client: InferenceClient) -> None:
    sampling = Sampling(temperature=1, max_new_tokens=60, seed=3)
    text = _text(await _collect(client, _request(sampling=sampling)))
    stop = text[len(text) // 2 : len(text) // 2 + 4]
    chunks = await _collect(client, _request(sampling=sampling.replace(stop=(stop,))))
    assert chunks[-1].finish_reason == "stop"
    assert _text(chunks) == text[: text.index(stop)]


async def test_closing_the_stream_frees_the_worker(client: InferenceClient) -> None:
    stream = client.generate(_request(sampling=_LONG))
    await anext(stream)
    await stream.aclose()
    started = time.monotonic()
    assert (await _collect(client, _request()))[-1].finish_reason in ("stop", "length")
    assert time.monotonic() - started < 10


async def test_cancelling_ends_the_stream_with_cancelled(client: InferenceClient) -> None:
    requests = [_request(sampling=_LONG) for _ in range(3)]
    streams = [asyncio.create_task(_collect(client, request)) for request in requests]
    await _until(lambda: client.status().running == 2 and client.status().waiting == 1)
    assert [client.place(request.id) for request in requests] == [0, 0, 1]
    for request in (*requests, requests[0]):
        client.cancel(request.id)
    for chunks in await asyncio.gather(*streams):
        assert [c.finish_reason for c in chunks if c.finish_reason] == ["cancelled"]
    await _until(lambda: client.status().running == 0)


async def test_what_cannot_be_served_is_refused_in_a_sentence(client: InferenceClient) -> None:
    with pytest.raises(AdapterError, match="no adapter 'nobody'"):
        await _collect(client, _request(adapter="nobody"))
    (last,) = await _collect(client, _request("a b " * 5000))
    assert last.finish_reason == "error"
    assert "prompt.context_tokens" in last.error


async def test_the_bots_process_counts_tokens_like_the_worker(
    client: InferenceClient, embedded: LoadedModel
) -> None:
    for text in ("Hello there", "你好 🙂", "", "\ud800 lone"):
        clean = text.encode("utf-8", "replace").decode()
        ids = embedded.tokenizer(clean, add_special_tokens=False)["input_ids"]
        assert client.count_tokens(text) == len(ids)


async def test_a_killed_worker_is_replaced_and_the_reply_begins_again(
    client: InferenceClient,
) -> None:
    before = client.status().restarts
    request = _request(sampling=_LONG.replace(max_new_tokens=400))
    expected = _text(await _collect(client, request.model_copy(update={"id": "first"})))
    stream = client.generate(request)
    chunks = [await anext(stream)]
    _kill_worker(client)
    chunks += [chunk async for chunk in stream]
    assert sum(chunk.restart for chunk in chunks) == 1
    assert chunks[-1].finish_reason in ("stop", "length")
    assert _text(chunks) == expected
    assert client.status().restarts == before + 1


async def test_a_request_that_kills_two_workers_fails_and_others_are_served(
    client: InferenceClient,
) -> None:
    deadly = asyncio.create_task(_collect(client, _request("deadly", sampling=_LONG)))
    for _ in range(2):
        await _until(lambda: client.status().state == "ready" and client.status().running == 1)
        _kill_worker(client)
        await _until(lambda: client.status().state != "ready")
    other = asyncio.create_task(_collect(client, _request()))
    chunks = await deadly
    assert chunks[-1].finish_reason == "error"
    assert "ended twice" in chunks[-1].error
    assert (await other)[-1].finish_reason in ("stop", "length")


async def test_what_ends_the_worker_three_times_in_a_minute_is_set_aside(
    client: InferenceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine three starts of a worker take longer than a minute.
    monkeypatch.setattr("inference.quarantine.WINDOW_SECONDS", 3600.0)

    def ask() -> GenerationRequest:
        return _request("fatal words", sampling=_LONG)

    for deaths in (2, 1):
        stream = asyncio.create_task(_collect(client, ask()))
        for _ in range(deaths):
            await _until(lambda: client.status().state == "ready" and client.status().running == 1)
            _kill_worker(client)
            await _until(lambda: client.status().state != "ready")
        if deaths == 1:
            stream.cancel()
    with pytest.raises(RequestRefused, match="three times within a minute"):
        await _collect(client, ask())
    assert (await _collect(client, _request("other words")))[-1].finish_reason != "error"


async def test_a_neighbour_of_a_deadly_request_survives(client: InferenceClient) -> None:
    requests = [_request(text, sampling=_LONG) for text in ("a neighbour", "another")]
    replies = [asyncio.create_task(_collect(client, request)) for request in requests]
    await _until(lambda: client.status().running == 2)
    _kill_worker(client)
    await _until(lambda: client.status().state != "ready")
    # Both are tried again, one alone after the other: only one can be hit by the next death.
    await _until(lambda: client.status().state == "ready" and client.status().running == 1)
    _kill_worker(client)
    reasons = sorted([(await reply)[-1].finish_reason or "" for reply in replies])
    assert reasons[0] == "error"
    assert reasons[1] in ("stop", "length")


async def test_two_workers_share_the_load_and_channels_stay_where_their_prefix_is(
    tmp_path: Path, tiny_folder: Path
) -> None:
    config = tiny_config(tmp_path, tiny_folder, devices=["cpu", "cpu"], rows=2)
    client = InferenceClient(config)
    await client.start()
    try:
        assert len(set(client.worker_pids)) == 2
        requests = [_request("story " * 40, channel=str(i), sampling=_LONG) for i in range(4)]
        streams = [asyncio.create_task(_collect(client, request)) for request in requests]
        await _until(lambda: client.status().running == 4)
        os.kill(client.worker_pids[0], signal.SIGKILL)
        for chunks in await asyncio.gather(*streams):
            assert chunks[-1].finish_reason in ("stop", "length")
        await _until(lambda: client.status().restarts == 1 and len(client.worker_pids) == 2)
        again = [_request("story " * 40 + "and on", channel=str(i)) for i in range(4)]
        for request in again:
            last = (await _collect(client, request))[-1]
            assert last.usage is not None
            assert last.usage.cached_tokens > 30
    finally:
        await client.close()


async def test_adapters_are_switched_between_requests(
    client: InferenceClient, tiny: LoadedModel, make_adapter: MakeAdapter
) -> None:
    sampling = Sampling(temperature=0, max_new_tokens=20)
    registry: AdapterRegistry = client.adapters
    make_adapter(tiny, registry, "pirate", seed=1)
    texts: dict[str, set[str]] = {}
    for name in ("base", "pirate", "base", "pirate@1"):
        chunks = await _collect(client, _request(sampling=sampling, adapter=name))
        texts.setdefault(chunks[-1].adapter, set()).add(_text(chunks))
    assert set(texts) == {"base", "pirate@1"}
    assert all(len(variants) == 1 for variants in texts.values())
    assert texts["base"] != texts["pirate@1"]


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path, tiny_folder: Path) -> None:
    client = InferenceClient(tiny_config(tmp_path, tiny_folder, hang_timeout_seconds=2.0))
    await client.start()
    try:
        stream = client.generate(_request(sampling=_LONG.replace(max_new_tokens=300)))
        await anext(stream)
        (pid,) = client.worker_pids
        os.kill(pid, signal.SIGSTOP)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].finish_reason in ("stop", "length")
        assert client.status().restarts == 1
    finally:
        await client.close()


async def test_bounds_deadline_and_shutdown(tmp_path: Path, tiny_folder: Path) -> None:
    settings = {"rows": 1, "queue_per_user": 1, "deadline_seconds": 0.5}
    client = InferenceClient(tiny_config(tmp_path, tiny_folder, **settings))
    await client.start()
    running = asyncio.create_task(_collect(client, _request(sampling=_LONG, user="a")))
    await _until(lambda: client.status().running == 1)
    [worker] = client.worker_pids
    os.kill(worker, signal.SIGSTOP)  # however fast it is, its only row stays taken
    late = asyncio.create_task(_collect(client, _request(user="b")))
    await _until(lambda: client.status().waiting == 1)
    with pytest.raises(RequestRefused, match="already have 1 replies waiting"):
        await _collect(client, _request(user="b"))
    (last,) = await late
    os.kill(worker, signal.SIGCONT)
    assert last.finish_reason == "error"
    assert "did not begin within" in last.error
    await client.close()
    assert (await running)[-1].finish_reason == "cancelled"
    with pytest.raises(RequestRefused, match="shutting down"):
        await _collect(client, _request())


async def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    config = config_in(tmp_path, model=ModelSettings(base=str(tmp_path / "none"), device="cpu"))
    with pytest.raises(InferenceError, match="There is no model folder"):
        await InferenceClient(config).start()


def _kill_worker(client: InferenceClient) -> None:
    for pid in client.worker_pids:
        os.kill(pid, signal.SIGKILL)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process changes it, nobody signals
            await asyncio.sleep(0.01)
