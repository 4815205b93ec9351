"""Trouble on demand: errors, rate limits, delays, cut connections; and the journal of it all."""

from __future__ import annotations

import time

import aiohttp
import discord
import pytest

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn

from .conftest import SampleBot

MESSAGES = "/channels/{id}/messages"


def text_channel(bot: SampleBot, channel: ChannelHandle) -> discord.TextChannel:
    found = bot.get_channel(channel.id)
    assert isinstance(found, discord.TextChannel)
    return found


async def test_failures(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = text_channel(started, general)
    fault = standin.faults.fail("POST", MESSAGES, status=503, times=1)
    with pytest.raises(discord.DiscordServerError):
        await channel.send("lost")
    assert fault.hits == 1
    forbidden = standin.faults.fail(
        "POST", MESSAGES, status=403, code=50013, message="No", where=lambda c: "b" in c.path
    )
    await channel.send("not struck: the path has no b")
    assert forbidden.hits == 0
    standin.faults.clear()
    await channel.send("fine")
    calls = standin.requests.matching("POST", MESSAGES)
    assert [call.status for call in calls] == [503, 200, 200]
    assert calls[-1].json["content"] == "fine"


async def test_a_server_error_is_retried_by_the_client(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    standin.faults.fail("POST", MESSAGES, status=500, times=1)
    await text_channel(started, general).send("through")
    assert [m.content for m in general.messages] == ["through"]


async def test_rate_limits_on_demand(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = text_channel(started, general)
    for is_global in (False, True):
        standin.faults.rate_limit("POST", MESSAGES, retry_after=0.1, global_=is_global)
        before = time.monotonic()
        await channel.send("patience")
        assert time.monotonic() - before >= 0.1
    statuses = [call.status for call in standin.requests.matching("POST", MESSAGES)]
    assert statuses == [429, 200, 429, 200]


async def test_rate_limit_buckets(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    limit = standin.rate_limits.enforce("POST", MESSAGES, requests=2, seconds=0.2)
    channel = text_channel(started, general)
    before = time.monotonic()
    for number in range(5):
        await channel.send(str(number))
    assert time.monotonic() - before >= 0.3
    assert limit.refused == 0  # discord.py reads the headers and waits of itself
    assert len(general.messages) == 5


async def test_webhook_rate_limit(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    webhook = await text_channel(started, general).create_webhook(name="Company")
    standin.faults.rate_limit("POST", "/webhooks/{id}/{token}", retry_after=0.05)
    await webhook.send("eventually", wait=True)
    assert general.messages[-1].content == "eventually"


async def test_cut_connections(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = text_channel(started, general)
    standin.faults.drop_before_response("POST", MESSAGES)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await channel.send("done, but never heard of", nonce="7")
    assert [m.content for m in general.messages] == ["done, but never heard of"]
    standin.faults.drop_request("POST", MESSAGES)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await channel.send("never done")
    statuses = [call.status for call in standin.requests.matching("POST", MESSAGES)]
    assert statuses == [0, 0]
    again = await channel.send("done, but never heard of", nonce="7")
    assert [m.id for m in general.messages] == [again.id]


async def test_delay(started: SampleBot, general: ChannelHandle, standin: DiscordStandIn) -> None:
    channel = text_channel(started, general)
    standin.faults.delay("POST", MESSAGES, seconds=0.1)
    before = time.monotonic()
    await channel.send("slow")
    assert time.monotonic() - before >= 0.1


async def test_waits_say_what_is_missing(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    said = await alice.say(general, "anyone?")
    with pytest.raises(AssertionError, match="anyone"):
        await general.wait_message(by=standin.bot_user, after=said, timeout=0.05)
    assert (await general.wait_settled(said, quiet=0.05)) is said


async def test_unknown_route_is_noted(started: SampleBot, standin: DiscordStandIn) -> None:
    with pytest.raises(discord.NotFound):
        await started.http.request(discord.http.Route("GET", "/no/such/route"))
    assert [call.path for call in standin.requests.unhandled] == ["/no/such/route"]
