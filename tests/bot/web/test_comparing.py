"""Two adapters on the same message and seed."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from bot.errors import CommandError
from bot.web.comparing import Comparison, Sides, compare, start_over
from bot.web.visit import Visit
from inference.adapters import AdapterError
from tests.bot.scripted import ScriptedClient, words


async def compared(visit: Visit, wanted: Comparison) -> Sides:
    views = [view async for view in compare(visit, wanted, "Ann")]
    return views[-1]


async def test_both_are_asked_the_same_but_for_the_adapter(
    visit: Visit, client: ScriptedClient
) -> None:
    wanted = Comparison("What do you sell?", "maud", ("base", "default@0"), {"temperature": 0.5})
    left, right = await compared(visit, wanted)
    assert [line.text for line in left] == [line.text for line in right]
    one, other = sorted(client.requests, key=lambda request: request.adapter)
    assert (one.adapter, other.adapter) == ("base", "default@0")
    assert one.messages == other.messages
    assert one.sampling == other.sampling
    assert one.sampling.seed is not None
    assert one.channel != other.channel


async def test_a_name_is_compared_as_the_version_it_stands_for(
    visit: Visit, client: ScriptedClient
) -> None:
    await compared(visit, Comparison("Hello!", "maud", ("default", "base")))
    assert sorted(request.adapter for request in client.requests) == ["base", "default@0"]


async def test_each_side_goes_on_with_its_own_reply(visit: Visit, client: ScriptedClient) -> None:
    left, right = (side.place.key for side in visit.compared)
    client.by_channel = {left: deque(["Left one.", "L"]), right: deque(["Right one.", "R"])}
    wanted = Comparison("Hello!", "mirela", ("base", "base"), seed=5)
    await compared(visit, wanted)
    assert {request.sampling.seed for request in client.requests} == {5}
    shown = await compared(visit, wanted)
    assert [lines[-1].text for lines in shown] == ["L", "R"]
    by_channel = {request.channel: str(request.messages) for request in client.requests[2:]}
    assert "Left one." in by_channel[left]
    assert "Left one." not in by_channel[right]


async def test_the_faster_side_is_shown_at_once(visit: Visit, client: ScriptedClient) -> None:
    left, right = (side.place.key for side in visit.compared)
    gate = asyncio.Event()
    client.by_channel = {left: deque([words("Slow it is.", gate=gate)]), right: deque(["Quick."])}
    views: list[Sides] = []
    async for view in compare(visit, Comparison("Go!", "mirela", ("base", "base")), "Ann"):
        views.append(view)
        if view[1] and view[1][-1].text == "Quick.":
            gate.set()
    assert views[-1][0][-1].text == "Slow it is."


async def test_another_character_begins_both_anew(visit: Visit) -> None:
    await compared(visit, Comparison("Hello!", "mirela", ("base", "base")))
    shown = await compared(visit, Comparison("Hello!", "maud", ("base", "base")))
    assert all(lines[0].name == "Maud Pellew" for lines in shown)
    assert all(len(lines) == 1 for lines in await start_over(visit, "Ann"))


async def test_nothing_said_there_is_learnt(visit: Visit) -> None:
    await compared(visit, Comparison("Hello!", "mirela", ("base", "base")))
    consent = visit.house.behind.database.consent
    for side in visit.compared:
        assert not await consent.trainable(await side.channel())
    assert await consent.trainable(await visit.chat.channel())


async def test_a_message_is_never_a_command(visit: Visit, client: ScriptedClient) -> None:
    await compared(visit, Comparison("/reset", "mirela", ("base", "base")))
    assert [request.messages[-1].content for request in client.requests] == ["reset", "reset"]


async def test_what_cannot_be_compared_is_a_sentence(visit: Visit, client: ScriptedClient) -> None:
    with pytest.raises(CommandError, match="Write a message"):
        await compared(visit, Comparison("  ", "mirela", ("base", "base")))
    with pytest.raises(AdapterError, match="no adapter 'nobody'"):
        await compared(visit, Comparison("Hello!", "mirela", ("base", "nobody")))
    assert not client.requests
