"""A bot in a process of its own: killed in mid-request, and started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn

BOT = Path(__file__).parent / "echo_bot.py"


async def start(server: DiscordStandIn) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(BOT), server.api_url, server.gateway_url, server.token
    )


async def test_killed_in_mid_reply(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    process = await start(standin)
    try:
        await standin.wait_ready()
        asked = await alice.say(general, "one")
        await general.wait_message(by=standin.bot_user, containing="one", after=asked)
        slow = standin.faults.delay("POST", "/channels/{id}/messages", seconds=0.2)
        await alice.say(general, "two")
        await standin.requests.pulse.until(lambda: slow.hits, 5, lambda: "the reply's request")
    finally:
        process.kill()
        await process.wait()
    await standin.wait_gone()
    # The request had arrived: Discord carries it out, though nobody hears the answer.
    await general.wait_message(by=standin.bot_user, containing="two")
    assert standin.closures == [(0, 1006)]
    process = await start(standin)
    try:
        await standin.wait_identified(2)
        asked = await alice.say(general, "three")
        await general.wait_message(by=standin.bot_user, containing="three", after=asked)
    finally:
        process.kill()
        await process.wait()
