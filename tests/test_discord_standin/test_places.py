"""Threads, forums and webhooks."""

from __future__ import annotations

import asyncio

import aiohttp
import discord
import pytest

from tests.discord_standin import (
    Actor,
    ChannelHandle,
    ChannelKind,
    DiscordStandIn,
    GuildHandle,
    MessageKind,
)

from .conftest import SampleBot, until


def text_channel(bot: SampleBot, channel: ChannelHandle) -> discord.TextChannel:
    found = bot.get_channel(channel.id)
    assert isinstance(found, discord.TextChannel)
    return found


async def test_threads_of_the_bot(
    started: SampleBot, alice: Actor, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = text_channel(started, general)
    said = await alice.say(general, "topic")
    message = await channel.fetch_message(said.id)
    thread = await message.create_thread(name="Talk")
    assert thread.id == said.id
    await thread.send("inside")
    place = standin.channel(thread.id)
    assert place.messages[-1].content == "inside"
    assert place.messages[0].kind == MessageKind.THREAD_STARTER_MESSAGE
    await alice.say(place, "me too")
    await until(lambda: thread.id in [t.id for t in channel.threads])
    await thread.edit(archived=True)
    assert [t.id async for t in channel.archived_threads()] == [thread.id]
    await thread.send("woken")
    assert place.state.thread is not None
    assert not place.state.thread.archived
    await thread.edit(name="Renamed", locked=True)
    assert place.name == "Renamed"
    loose = await channel.create_thread(name="Loose", type=discord.ChannelType.public_thread)
    assert general.messages[-1].kind == MessageKind.THREAD_CREATED
    assert [t.name for t in await channel.guild.active_threads()] == ["Renamed", "Loose"]
    await loose.delete()
    assert [t.name for t in general.threads] == ["Renamed"]
    assert not standin.requests.unhandled


async def test_threads_of_people(
    started: SampleBot, alice: Actor, general: ChannelHandle, guild: GuildHandle
) -> None:
    created = asyncio.create_task(started.wait_for("thread_create", timeout=5))
    await asyncio.sleep(0)
    place = await alice.start_thread(general, "Mine")
    thread = await created
    assert (thread.id, thread.owner_id, thread.parent_id) == (place.id, alice.id, general.id)
    await thread.join()
    waiting = asyncio.create_task(started.wait_for("message", timeout=5))
    await asyncio.sleep(0)
    await alice.say(place, "hello thread")
    message = await waiting
    assert isinstance(message.channel, discord.Thread)
    reply = await message.reply("hello yourself")
    assert place.messages[-1].id == reply.id
    forum = guild.add_channel("forum", kind=ChannelKind.FORUM)
    post = await alice.start_thread(forum, "Post", content="opening")
    assert post.messages[0].id == post.id
    await until(lambda: isinstance(started.get_channel(forum.id), discord.ForumChannel))
    seen = started.get_channel(forum.id)
    assert isinstance(seen, discord.ForumChannel)
    made = await seen.create_thread(name="Bot's post", content="first")
    assert made.message.content == "first"


async def test_webhooks(
    started: SampleBot, alice: Actor, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = text_channel(started, general)
    webhook = await channel.create_webhook(name="Company")
    assert [hook.id for hook in await channel.webhooks()] == [webhook.id]
    await webhook.send("no answer wanted")
    sent = await webhook.send(
        "I am Mirela", username="Mirela", avatar_url="https://x/y.png", wait=True
    )
    seen = await general.wait_message(by="Mirela")
    assert (seen.id, seen.webhook_id) == (sent.id, webhook.id)
    assert seen.avatar_url == "https://x/y.png"
    await sent.edit(content="I was Mirela")
    assert [r.content for r in seen.history] == ["I am Mirela", "I was Mirela"]
    place = await alice.start_thread(general, "Side")
    inside = await webhook.send("in here", thread=discord.Object(place.id), wait=True)
    assert place.messages[-1].id == inside.id
    await webhook.edit_message(inside.id, content="edited", thread=discord.Object(place.id))
    assert place.messages[-1].content == "edited"
    await sent.delete()
    assert seen.deleted
    with pytest.raises(discord.NotFound) as missing:
        await webhook.edit_message(sent.id, content="ghost")
    assert missing.value.code == 10008
    with pytest.raises(discord.HTTPException) as refused:
        await webhook.send("x", username="Discord staff")
    assert refused.value.code == 50035
    await webhook.delete()
    with pytest.raises(discord.NotFound) as missing:
        await webhook.send("gone?")
    assert missing.value.code == 10015
    assert not standin.requests.unhandled


async def test_webhook_without_a_client(standin: DiscordStandIn, general: ChannelHandle) -> None:
    made = general.add_webhook("Bridge")
    async with aiohttp.ClientSession() as session:
        webhook = discord.Webhook.partial(made.id, made.token, session=session)
        message = await webhook.send("from afar", wait=True)
    assert general.messages[-1].id == message.id


async def test_webhooks_need_permission(
    started: SampleBot, general: ChannelHandle, guild: GuildHandle
) -> None:
    guild.revoke_bot("manage_webhooks")
    with pytest.raises(discord.Forbidden) as refused:
        await text_channel(started, general).create_webhook(name="Company")
    assert refused.value.code == 50013
