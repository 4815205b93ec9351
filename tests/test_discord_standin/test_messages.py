"""Messages, both ways: what people write reaches the bot, what it does reaches the channel."""

from __future__ import annotations

import asyncio
import io

import discord
import pytest

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle, MessageKind

from .conftest import SampleBot, running, until


async def next_message(bot: SampleBot) -> discord.Message:
    message = await bot.wait_for("message", timeout=5)
    assert isinstance(message, discord.Message)
    return message


async def text_channel(bot: SampleBot, channel: ChannelHandle) -> discord.TextChannel:
    found = bot.get_channel(channel.id)
    assert isinstance(found, discord.TextChannel)
    return found


async def test_message_arrives_whole(
    started: SampleBot, alice: Actor, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    waiting = asyncio.create_task(next_message(started))
    await asyncio.sleep(0)
    sent = await alice.say(
        general, f"hello {standin.bot_user.mention}", attachments=[("a b.txt", b"hi")]
    )
    got = await waiting
    assert (got.id, got.content) == (sent.id, sent.content)
    assert got.channel.id == general.id
    assert got.author.display_name == "Alice"
    assert isinstance(got.author, discord.Member)
    assert started.user in got.mentions
    assert got.attachments[0].filename == "a_b.txt"
    assert await got.attachments[0].read() == b"hi"


async def test_reply_edit_delete(started: SampleBot, alice: Actor, general: ChannelHandle) -> None:
    asked = await alice.say(general, "question")
    channel = await text_channel(started, general)
    reply = await channel.get_partial_message(asked.id).reply("answer", mention_author=True)
    seen = await general.wait_message(after=asked, by=started.user.id if started.user else None)
    assert seen.kind == MessageKind.REPLY
    assert seen.reply_to is not None
    assert seen.reply_to.target is asked
    assert seen.mentions == [alice.state]
    await reply.edit(content="better")
    await reply.edit(content="best")
    assert [revision.content for revision in seen.edits] == ["better", "best"]
    assert [revision.content for revision in seen.history] == ["answer", "better", "best"]
    assert seen.history[0].at <= seen.edits[0].at <= seen.edits[1].at
    await reply.delete()
    assert seen.deleted
    assert general.messages == [asked]


async def test_history_in_every_direction(
    started: SampleBot, alice: Actor, general: ChannelHandle
) -> None:
    said = [await alice.say(general, str(number)) for number in range(7)]
    channel = await text_channel(started, general)

    async def contents(**options: object) -> list[str]:
        return [m.content async for m in channel.history(**options)]  # type: ignore[arg-type]

    assert await contents(limit=3) == ["6", "5", "4"]
    assert await contents(limit=2, before=discord.Object(said[4].id)) == ["3", "2"]
    assert await contents(limit=2, after=discord.Object(said[2].id)) == ["3", "4"]
    around = await contents(limit=3, around=discord.Object(said[3].id))
    assert sorted(around) == ["2", "3", "4"]
    fetched = await channel.fetch_message(said[5].id)
    assert fetched.content == "5"
    with pytest.raises(discord.NotFound) as unknown:
        await channel.fetch_message(1)
    assert unknown.value.code == 10008


async def test_edits_deletes_and_reactions_of_people(
    started: SampleBot, alice: Actor, general: ChannelHandle
) -> None:
    said = await alice.say(general, "first")
    await until(lambda: started.cached_messages)
    edited = asyncio.create_task(started.wait_for("message_edit", timeout=5))
    reacted = asyncio.create_task(started.wait_for("raw_reaction_add", timeout=5))
    unreacted = asyncio.create_task(started.wait_for("raw_reaction_remove", timeout=5))
    deleted = asyncio.create_task(started.wait_for("raw_message_delete", timeout=5))
    typed = asyncio.create_task(started.wait_for("typing", timeout=5))
    await asyncio.sleep(0)
    await alice.edit(said, "second")
    await alice.react(said, "👍")
    await alice.unreact(said, "👍")
    await alice.type_in(general)
    await alice.delete(said)
    assert (await edited)[1].content == "second"
    assert str((await reacted).emoji) == "👍"
    assert (await unreacted).user_id == alice.id
    assert (await typed)[1].id == alice.id
    assert (await deleted).message_id == said.id


async def test_bot_reacts_pins_types_and_clears(
    started: SampleBot, alice: Actor, general: ChannelHandle
) -> None:
    said = await alice.say(general, "look")
    other = await alice.say(general, "and this")
    channel = await text_channel(started, general)
    message = await channel.fetch_message(said.id)
    await message.add_reaction("👍")
    await alice.react(said, "👍")
    await general.wait_reaction(said, "👍")
    assert said.reactions == {"👍": [said_by_bot(started), alice.id]}
    again = await channel.fetch_message(said.id)
    assert (again.reactions[0].count, again.reactions[0].me) == (2, True)
    assert {user.id async for user in again.reactions[0].users()} == set(said.reactions["👍"])
    await message.remove_reaction("👍", discord.Object(alice.id))
    assert said.reactions == {"👍": [said_by_bot(started)]}
    await message.clear_reactions()
    assert said.reactions == {}
    with pytest.raises(discord.HTTPException) as unknown:
        await message.add_reaction("word")
    assert unknown.value.code == 10014
    await message.pin()
    assert [pinned.id async for pinned in channel.pins()] == [said.id]
    await message.unpin()
    assert [pinned.id async for pinned in channel.pins()] == []
    async with channel.typing():
        await general.wait_typing()
    await channel.delete_messages([message, discord.Object(other.id)])
    assert said.deleted
    assert other.deleted


def said_by_bot(bot: SampleBot) -> int:
    assert bot.user is not None
    return bot.user.id


async def test_files_embeds_and_nonce(
    started: SampleBot, general: ChannelHandle, standin: DiscordStandIn
) -> None:
    channel = await text_channel(started, general)
    embed = discord.Embed(title="T", description="D")
    file = discord.File(io.BytesIO(b"\x89PNG"), "p.png", description="a picture")
    sent = await channel.send("x", embed=embed, file=file, nonce="n1")
    seen = general.messages[-1]
    assert seen.embeds[0]["title"] == "T"
    assert (seen.attachments[0].data, seen.attachments[0].content_type) == (b"\x89PNG", "image/png")
    assert seen.attachments[0].description == "a picture"
    assert await sent.attachments[0].read() == b"\x89PNG"
    repeated = await channel.send("x", nonce="n1")
    assert repeated.id == sent.id
    assert len(general.messages) == 1
    edited = await sent.edit(attachments=[discord.File(io.BytesIO(b"2"), "q.txt")])
    assert [a.filename for a in edited.attachments] == ["q.txt"]
    assert not standin.requests.unhandled


@pytest.mark.parametrize(("content", "code"), [("x" * 2001, 50035), ("", 50006), ("   ", 50006)])
async def test_refused_content(
    started: SampleBot, general: ChannelHandle, content: str, code: int
) -> None:
    channel = await text_channel(started, general)
    with pytest.raises(discord.HTTPException) as refused:
        await channel.send(content)
    assert (refused.value.status, refused.value.code) == (400, code)
    await channel.send("x" * 2000)


async def test_permissions(
    started: SampleBot, alice: Actor, guild: GuildHandle, general: ChannelHandle
) -> None:
    channel = await text_channel(started, general)
    said = await alice.say(general, "mine")
    general.deny_bot("send_messages", "manage_messages")
    with pytest.raises(discord.Forbidden) as refused:
        await channel.send("may I?")
    assert refused.value.code == 50013
    with pytest.raises(discord.Forbidden) as refused:
        await channel.get_partial_message(said.id).delete()
    assert refused.value.code == 50013
    with pytest.raises(discord.Forbidden) as refused:
        await channel.get_partial_message(said.id).edit(content="yours")
    assert refused.value.code == 50005
    general.deny_bot("view_channel")
    with pytest.raises(discord.Forbidden) as refused:
        await channel.send("hello?")
    assert refused.value.code == 50001
    hidden = guild.add_channel("hidden", private=True)
    with pytest.raises(AssertionError, match="does not see"):
        await alice.say(hidden, "psst")


async def test_direct_messages(started: SampleBot, standin: DiscordStandIn, alice: Actor) -> None:
    waiting = asyncio.create_task(next_message(started))
    await asyncio.sleep(0)
    asked = await alice.say(alice.dm(), "secret")
    got = await waiting
    assert isinstance(got.channel, discord.DMChannel)
    assert got.guild is None
    await got.channel.send("kept")
    reply = await alice.dm().wait_message(by=standin.bot_user, after=asked)
    assert reply.content == "kept"
    user = await started.fetch_user(alice.id)
    await user.send("first to write")
    assert alice.dm().messages[-1].content == "first to write"
    alice.close_dms()
    with pytest.raises(discord.Forbidden) as refused:
        await user.send("still there?")
    assert refused.value.code == 50007


async def test_message_content_intent(
    standin: DiscordStandIn, alice: Actor, general: ChannelHandle
) -> None:
    intents = discord.Intents.default()
    bot = SampleBot(intents=intents)
    heard: list[str] = []

    @bot.event
    async def on_message(message: discord.Message) -> None:
        heard.append(message.content)

    async with running(bot, standin):
        await alice.say(general, "not for you")
        await alice.say(general, f"{standin.bot_user.mention} for you")
        await alice.say(alice.dm(), "private")
        last = await (await text_channel(bot, general)).send("done")
        await until(lambda: len(heard) == 4)
    assert heard == ["", f"{standin.bot_user.mention} for you", "private", last.content]


async def test_allowed_mentions(started: SampleBot, alice: Actor, general: ChannelHandle) -> None:
    channel = await text_channel(started, general)
    await channel.send(
        f"{alice.mention} @everyone", allowed_mentions=discord.AllowedMentions.none()
    )
    seen = general.messages[-1]
    assert (seen.mentions, seen.mention_everyone) == ([], False)
    assert seen.allowed_mentions == {"parse": []}
    await channel.send(f"{alice.mention} @everyone")
    seen = general.messages[-1]
    assert (seen.mentions, seen.mention_everyone) == ([alice.state], True)
