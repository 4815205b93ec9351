"""Deadlines whose clock can be stopped."""

from __future__ import annotations

import asyncio

from inference.deadlines import Deadlines


async def _expired(deadlines: Deadlines, late: list[str], count: int) -> None:
    async with asyncio.timeout(5):
        while len(late) < count:  # noqa: ASYNC110 - the list has no event
            await asyncio.sleep(0.005)


async def test_who_is_not_served_in_time_is_named_once() -> None:
    late: list[str] = []
    deadlines = Deadlines(0.02, late.append)
    deadlines.begin("slow")
    deadlines.begin("served")
    deadlines.end("served")
    await _expired(deadlines, late, 1)
    await asyncio.sleep(0.06)
    assert late == ["slow"]
    deadlines.end("slow")
    deadlines.end("never begun")


async def test_none_comes_while_suspended_and_all_have_their_whole_time_after() -> None:
    late: list[str] = []
    deadlines = Deadlines(0.03, late.append)
    deadlines.begin("before")
    deadlines.suspend()
    deadlines.begin("meanwhile")
    deadlines.begin("gone meanwhile")
    deadlines.end("gone meanwhile")
    await asyncio.sleep(0.1)
    assert late == []
    resumed = asyncio.get_running_loop().time()
    deadlines.resume()
    deadlines.resume()  # nothing is counted twice
    await _expired(deadlines, late, 2)
    assert asyncio.get_running_loop().time() - resumed >= 0.029
    await asyncio.sleep(0.06)
    assert late == ["before", "meanwhile"]
