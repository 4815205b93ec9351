"""What Prometheus reads: figures of what happened and of what is, and nothing about anybody."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot import metrics
from bot.metrics_server import figures_shown
from bot.startup import StartupError
from bot.turn_log import Timing, Turn
from config import Config, MetricsSettings
from db.database import DatabaseError
from db.runs import Run
from inference.client import Status
from inference.engine.interface import EngineStats
from inference.types import Usage
from tests.bot.conftest import Scene, scene_in
from tests.bot.scripted import words
from tests.conftest import REPOSITORY

USAGE = Usage(
    prompt_tokens=40,
    cached_tokens=30,
    completion_tokens=6,
    first_token_seconds=0.0,
    total_seconds=0.0,
)
ENGINE = EngineStats(
    active=2,
    waiting_for_adapter=0,
    steps=10,
    generated_tokens=70,
    tokens_per_second=12.5,
    prompt_tokens=100,
    prefix_hit_tokens=60,
    prefix_bytes=4096,
    adapters_in_batch_memory=3,
    adapter_loads=5,
    resident_bytes=1 << 20,
    device_bytes=1 << 21,
)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def config(make_config: Callable[..., Config], port: int) -> Config:
    return make_config(metrics=MetricsSettings(port=port))


@pytest.fixture
async def address(scene: Scene) -> AsyncIterator[str]:
    async with figures_shown(scene.behind) as shown:
        assert shown is not None
        yield shown


async def _read(address: str, **headers: str) -> tuple[str, str]:
    async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
        assert answer.status == 200
        return await answer.text(), answer.headers["Content-Type"]


async def figures(address: str) -> dict[str, float]:
    """Every sample under its name and labels, as PromQL writes them."""
    text, _ = await _read(address)
    return {
        sample.name
        + (
            "{" + ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items())) + "}"
            if sample.labels
            else ""
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_turns_are_counted(scene: Scene, address: str) -> None:
    scene.client.scripts += [
        words("The harbour wakes early.", usage=USAGE),
        words("I am Captain Mirela Vex, sailor of storms.", usage=USAGE),
        words("Cut short", finish="length", usage=USAGE),
    ]
    for question in ("Hello!", "Nice weather.", "And now?"):
        await scene.say(question)
    await scene.settled()
    await scene.behind.turns.keeper.idle()
    found = await figures(address)
    assert found['troupe_turns_total{adapter="base",finish_reason="stop"}'] == 2
    assert found['troupe_turns_total{adapter="base",finish_reason="length"}'] == 1
    assert found['troupe_unasked_replies_total{adapter="base"}'] == 2
    assert found['troupe_introductions_total{adapter="base"}'] == 1
    assert found["troupe_prompt_tokens_total"] == 120
    assert found["troupe_cached_prompt_tokens_total"] == 90
    assert found["troupe_reply_tokens_total"] == 18
    for histogram in ("first_token", "wait", "reply"):
        assert found[f"troupe_{histogram}_seconds_count"] == 3
        assert found[f'troupe_{histogram}_seconds_bucket{{le="+Inf"}}'] == 3
    assert found['troupe_identity_rate{measure="IIR"}'] == 0.5
    assert found["troupe_identity_replies"] == 3


async def test_what_is_stands_there_as_it_is_at_that_moment(
    scene: Scene, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = await figures(address)
    assert quiet['troupe_model_state{state="ready"}'] == 1
    assert quiet["troupe_queue_waiting"] == 0
    assert 'troupe_identity_rate{measure="IIR"}' not in quiet  # not 0: nothing is known
    status = Status(
        state="restarting",
        model="",
        backends=2,
        waiting=7,
        running=4,
        restarts=3,
        problem="",
        engines=(ENGINE, replace(ENGINE, adapters_in_batch_memory=1)),
    )
    monkeypatch.setattr(scene.client, "status", lambda: status)
    found = await figures(address)
    expected = {
        'troupe_model_state{state="ready"}': 0,
        'troupe_model_state{state="restarting"}': 1,
        "troupe_queue_waiting": 7,
        "troupe_replies_running": 4,
        "troupe_workers": 2,
        "troupe_worker_restarts_total": 3,
        "troupe_tokens_per_second": 25.0,
        'troupe_worker_memory_bytes{of="process",worker="0"}': 1 << 20,
        'troupe_worker_memory_bytes{of="device",worker="1"}': 1 << 21,
        'troupe_worker_memory_bytes{of="prefix_cache",worker="0"}': 4096,
        'troupe_worker_adapters{worker="0"}': 3,
        'troupe_worker_adapters{worker="1"}': 1,
        'troupe_worker_adapter_loads_total{worker="0"}': 5,
        'troupe_worker_tokens_total{worker="0"}': 70,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["process_resident_memory_bytes"] > 1 << 20


async def test_the_database_and_the_newest_retraining(scene: Scene, address: str) -> None:
    file = scene.behind.config.database_file
    before = await figures(address)
    assert before['troupe_database_bytes{file="main"}'] == file.stat().st_size
    assert before['troupe_database_bytes{file="log"}'] > 0
    assert before["troupe_database_readable"] == 1
    assert not [name for name in before if name.startswith("troupe_retraining")]
    runs = scene.behind.database.runs
    await runs.begin(Run("2026-11-20T03-00-00Z", "default", stage="train", started_at=100.0))
    during = await figures(address)
    assert during['troupe_retraining_state{state="running"}'] == 1
    assert during['troupe_retraining_stage{stage="train"}'] == 1
    assert during["troupe_retraining_started_seconds"] == 100
    assert "troupe_retraining_finished_seconds" not in during
    await runs.finish("2026-11-20T03-00-00Z", "rejected", "It forgets its name.", 160.0)
    after = await figures(address)
    assert after['troupe_retraining_state{state="rejected"}'] == 1
    assert after['troupe_retraining_state{state="running"}'] == 0
    assert after["troupe_retraining_finished_seconds"] == 160
    assert 'troupe_retraining_stage{stage="train"}' not in after


async def test_a_database_that_cannot_be_read_does_not_hide_the_rest(
    scene: Scene, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(count: int) -> list[Run]:
        raise DatabaseError("The disk is gone.")

    monkeypatch.setattr(scene.behind.database.runs, "newest", broken)
    found = await figures(address)
    assert found["troupe_database_readable"] == 0
    assert found["troupe_queue_waiting"] == 0


async def test_nobody_and_nothing_said_is_in_it(scene: Scene, address: str) -> None:
    scene.client.scripts.append("Xylophones galore.")
    await scene.say("Tell me about my zeppelin.")
    await scene.settled()
    await scene.behind.turns.keeper.idle()
    text, _ = await _read(address)
    assert "troupe_turns_total{" in text
    for word in ("Xylophones", "zeppelin", "Ann", "discord", "general", "mirela"):
        assert word not in text


async def test_many_adapters_are_a_bounded_number_of_series(scene: Scene, address: str) -> None:
    for version in range(3 * metrics.MOST_ADAPTERS):
        turn = Turn("c", 1, "reply", "mirela", f"pirate@{version}", "stop", Timing())
        scene.behind.turns.turn_log.ended(turn)
    found = await figures(address)
    series = {name: n for name, n in found.items() if name.startswith("troupe_turns_total")}
    assert len(series) == metrics.MOST_ADAPTERS + 1
    assert sum(series.values()) == 3 * metrics.MOST_ADAPTERS
    other = f'troupe_turns_total{{adapter="{metrics.OTHER}",finish_reason="stop"}}'
    assert series[other] == 2 * metrics.MOST_ADAPTERS


async def test_both_formats_of_prometheus(address: str) -> None:
    text, content_type = await _read(address)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert "# TYPE troupe_first_token_seconds histogram" in text
    text, content_type = await _read(address, Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


async def test_only_this_machine_is_listened_to_and_only_that_page_is_there(
    address: str, port: int
) -> None:
    assert address == f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 404
        async with session.post(address) as answer:
            assert answer.status == 405
        with pytest.raises(aiohttp.ClientConnectorError):
            # another address of the same machine
            await session.get(f"http://127.0.0.2:{port}/metrics")


async def test_without_a_port_nothing_is_listened_to(make_config: Callable[..., Config]) -> None:
    async with scene_in(make_config()) as scene, figures_shown(scene.behind) as shown:
        assert shown is None


async def test_a_port_that_is_taken_is_one_sentence(scene: Scene, address: str) -> None:
    with pytest.raises(StartupError, match=r"change metrics\.port or metrics\.host") as caught:
        async with figures_shown(scene.behind):
            pass
    assert "\n" not in str(caught.value)


async def test_what_the_readme_asks_prometheus_is_there(scene: Scene, address: str) -> None:
    scene.client.scripts += [words("One.", usage=USAGE), words("Two.", usage=USAGE)]
    for _ in range(2):
        await scene.say("Nice weather.")
    await scene.settled()
    await scene.behind.turns.keeper.idle()
    found = {name.partition("{")[0] for name in await figures(address)}
    asked = set(re.findall(r"\btroupe_\w+", (REPOSITORY / "README.md").read_text("utf-8")))
    assert len(asked) > 3
    assert asked <= found


async def test_a_page_costs_little(scene: Scene, address: str) -> None:
    """It is made on the event loop, so it must not hold up what people wait for."""
    for version in range(metrics.MOST_ADAPTERS):
        turn = Turn("c", 1, "reply", "mirela", f"pirate@{version}", "stop", Timing(1, 1, 1))
        scene.behind.turns.turn_log.ended(turn)
    page = metrics.Metrics(scene.behind)
    started = time.process_time()
    for _ in range(10):
        await page.page("")
    assert (time.process_time() - started) / 10 < 0.1  # some milliseconds; the rest is margin
