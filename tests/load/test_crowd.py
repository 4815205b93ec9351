"""Issue 5, "must show" 4: 300 people in 100 channels at once."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.load.crowd import Crowd
from tests.load.fast_worker import TOKEN
from tests.load.load_run import CAPACITY, HEARTBEAT, QUEUE, Figures, Run, crowded, seconds_waited

PEOPLE, CHANNELS = 300, 100
LATE = 1.0  # seconds; Discord itself cuts the line after two intervals

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc"
)


async def overload(run: Run) -> int:
    """Everybody speaks at once while the worker writes nothing; returns how many were refused."""
    run.hold()
    said = await run.crowd.everybody_at_once()
    turned_away = (CHANNELS - CAPACITY - QUEUE) * (PEOPLE // CHANNELS)

    async with asyncio.timeout(120):
        while sum(len(one.refusals) for one in said) < turned_away:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    run.go_on()
    await run.crowd.answered(said, within=120)
    return sum(len(one.refusals) for one in said)


def check_answers(crowd: Crowd) -> None:
    """Every message to the bot is answered or refused, once, and in order; no other is."""
    for room in crowd.rooms:
        assert room.strays == []
        assert room.out_of_order() == [], room.channel
        for said in room.said.values():
            assert said.answers == said.addressed, said
            for reply in said.replies:
                assert TOKEN.findall(reply.content) == [TOKEN.match(said.token).groups()]  # type: ignore[union-attr]
                assert reply.content.endswith("over the flats."), "a reply was not finished"
            for refusal in said.refusals:
                assert "try again in a moment" in refusal.content


def check_service(run: Run, figures: Figures) -> None:
    assert run.server.requests.unhandled == []
    assert figures.closures == []
    assert run.server.identifies == 1
    assert figures.longest_gap < HEARTBEAT + LATE
    assert figures.leaks == 0, "a prompt held what was said in another channel"
    assert figures.exit_code == 0
    assert "Traceback" not in run.told()


def report(run: Run, figures: Figures) -> None:
    """The figures, for whoever looks (-s)."""
    said = run.crowd.said
    addressed = [one for one in said if one.addressed]
    shown = {
        "said": len(said),
        "to_the_bot": len(addressed),
        "answered": sum(len(one.replies) for one in addressed),
        "refused": sum(len(one.refusals) for one in addressed),
        "waited_seconds": seconds_waited(addressed),
        "loop_late_seconds": figures.late,
        "longest_heartbeat_gap": figures.longest_gap,
        "rest_calls": len(run.server.requests),
        "429s": figures.refused_by_rate_limits,
        "memory_mb": [round(mb) for at, mb in figures.memory[:: max(1, len(figures.memory) // 20)]],
    }
    print(json.dumps(shown), file=sys.stderr)


async def test_everybody_at_once(tmp_path: Path) -> None:
    async with crowded(tmp_path, people=PEOPLE, channels=CHANNELS, pause=8.0) as run:
        refused = await overload(run)
        await run.crowd.talk(3.0)
    report(run, run.figures)
    assert refused == (CHANNELS - CAPACITY - QUEUE) * (PEOPLE // CHANNELS)
    check_answers(run.crowd)
    check_service(run, run.figures)


@pytest.mark.slow
async def test_ten_minutes(tmp_path: Path) -> None:
    async with crowded(tmp_path, people=PEOPLE, channels=CHANNELS, pause=15.0) as run:
        await overload(run)
        await run.crowd.talk(600.0)
        await overload(run)
    figures = run.figures
    report(run, figures)
    check_answers(run.crowd)
    check_service(run, figures)
    # Histories, caches and SQLite's pages fill up in the first minutes; from then on it is flat.
    settled, end = figures.memory_between(240, 300), figures.memory_between(540, 600)
    assert end <= settled * 1.05, f"{settled:.0f} MB grew to {end:.0f} MB in five minutes"
