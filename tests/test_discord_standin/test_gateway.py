"""The gateway: sessions, shards, resumes, and the ways in which it can go wrong."""

from __future__ import annotations

import asyncio

import discord
import pytest

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle

from .conftest import SampleBot, pointed, running, until


class Listener(SampleBot):
    """Remembers what it heard."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.contents: list[str] = []
        self.resumed = 0
        self.joined: list[int] = []
        self.left: list[int] = []

    async def on_message(self, message: discord.Message, /) -> None:
        self.contents.append(message.content)

    async def on_resumed(self) -> None:
        self.resumed += 1

    async def on_guild_join(self, guild: discord.Guild) -> None:
        self.joined.append(guild.id)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        self.left.append(guild.id)


async def test_ready_knows_guilds_channels_and_members(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle, alice: Actor
) -> None:
    bot = Listener()
    async with running(bot, standin):
        sessions = await standin.wait_ready()
        assert [(s.shard, s.shard_count) for s in sessions] == [(0, 1)]
        assert bot.user is not None
        assert bot.user.id == standin.bot_user.id
        assert bot.application_id == standin.application_id
        seen = bot.get_guild(guild.id)
        assert seen is not None
        assert [channel.name for channel in seen.text_channels] == ["general"]
        member = seen.get_member(alice.id)
        assert member is not None
        assert member.display_name == "Alice"
        assert seen.me.guild_permissions.manage_webhooks
        assert (await bot.application_info()).owner.id == standin.owner.id
        assert bot.shards[0].latency < 5
        await bot.change_presence(activity=discord.Game("theatre"))
        await standin.wait_gateway(
            lambda: (sessions[0].presence or {}).get("activities"), 5, "presence"
        )
    await standin.wait_gone()
    assert standin.closures == [(0, 1000)]
    assert standin.sessions == []
    assert not standin.requests.unhandled


async def test_a_plain_client_too(standin: DiscordStandIn, guild: GuildHandle) -> None:
    client = discord.Client(intents=discord.Intents.default(), guild_ready_timeout=0.05)
    task = asyncio.create_task(client.start(standin.token))
    await standin.wait_ready()
    await until(client.is_ready)
    assert [g.id for g in client.guilds] == [guild.id]
    await client.close()
    await task


async def test_shards() -> None:
    async with DiscordStandIn(shards=3) as server, pointed(server):
        rooms = [
            server.add_guild(f"g{shard}", on_shard=(shard, 3)).add_channel("room")
            for shard in range(3)
        ]
        user = server.add_user("walker")
        for guild in server.guilds:
            guild.join(user)
        bot = Listener()
        async with running(bot, server):
            assert [s.shard for s in await server.wait_ready()] == [0, 1, 2]
            assert sorted(g.shard_id for g in bot.guilds) == [0, 1, 2]
            for number, room in enumerate(rooms):
                await user.say(room, f"shard {number}")
            await user.say(user.dm(), "direct")
            await until(lambda: len(bot.contents) == 4)
            assert set(bot.contents) == {"shard 0", "shard 1", "shard 2", "direct"}


async def test_resume_after_a_cut_loses_nothing(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    bot = Listener()
    async with running(bot, standin):
        await alice.say(general, "before")
        await until(lambda: bot.contents == ["before"])
        await standin.drop_connections()
        await standin.wait_gone()
        await alice.say(general, "meanwhile")
        await standin.wait_resumed()
        await alice.say(general, "after")
        await until(lambda: len(bot.contents) == 3)
        assert bot.contents == ["before", "meanwhile", "after"]
        assert standin.identifies == 1
        await until(lambda: bot.resumed == 1)


async def test_opcode_7_and_resumable_9_resume(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    bot = Listener()
    async with running(bot, standin):
        await standin.reconnect_all()
        await standin.wait_resumed(1)
        await standin.invalidate_sessions(resumable=True)
        await standin.wait_resumed(2)
        await alice.say(general, "still here?")
        await until(lambda: bot.contents == ["still here?"])
        assert standin.identifies == 1


async def test_opcode_9_identifies_anew(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    bot = Listener()
    async with running(bot, standin):
        await standin.invalidate_sessions()
        await standin.wait_identified(2)
        await alice.say(general, "hello again")
        await until(lambda: bot.contents == ["hello again"])
        standin.forget_sessions()
        await standin.drop_connections(4000)
        await standin.wait_identified(3)
        assert standin.resumes == 0


async def test_wrong_token(standin: DiscordStandIn) -> None:
    bot = SampleBot()
    with pytest.raises(discord.LoginFailure):
        await bot.start("nonsense")
    await bot.close()


async def test_disallowed_intents(standin: DiscordStandIn, guild: GuildHandle) -> None:
    standin.disallow_intents("message_content")
    bot = SampleBot()
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await asyncio.wait_for(bot.start(standin.token), 5)
    await bot.close()
    assert standin.closures[-1][1] == 4014


async def test_heartbeats_are_recorded() -> None:
    async with (
        DiscordStandIn(heartbeat_interval=0.1, close_late_heartbeats=False) as server,
        pointed(server),
    ):
        server.add_guild("g")
        async with running(SampleBot(), server):
            await server.wait_ready()
            log = server.heartbeats[0]
            await server.wait_gateway(lambda: len(log.beats) >= 4, 5, "four beats")
            assert log.shard == 0
            assert all(beat.acknowledged_at for beat in log.beats)
            assert len(log.gaps()) == len(log.beats) + 1
            assert log.longest_gap() < 2
            assert log.latest_gap() <= log.longest_gap()


async def test_a_silent_client_is_closed() -> None:
    async with DiscordStandIn(heartbeat_interval=0.1) as server, pointed(server):
        server.add_guild("g")
        bot = SampleBot()
        async with running(bot, server):
            shard = bot.get_shard(0)
            assert shard is not None
            keep_alive = shard._parent.ws._keep_alive
            assert keep_alive is not None
            keep_alive.stop()
            await server.wait_gateway(lambda: (0, 4009) in server.closures, 5, "4009")
            await server.wait_resumed()


async def test_a_zombie_connection_is_left() -> None:
    """Without acknowledgements (and anything else) the client gives up and resumes."""
    async with DiscordStandIn(heartbeat_interval=0.1) as server, pointed(server):
        server.add_guild("g")
        async with running(SampleBot(heartbeat_timeout=0.4), server):
            server.withhold_heartbeat_acks()
            await server.wait_resumed()
            server.withhold_heartbeat_acks(False)


async def test_many_members_are_chunked(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle
) -> None:
    for number in range(1300):
        guild.join(standin.add_user(f"user{number}"))
    bot = SampleBot()
    async with running(bot, standin):
        seen = bot.get_guild(guild.id)
        assert seen is not None
        assert seen.chunked
        assert len(seen.members) == 1302
        found = await seen.query_members("user129", limit=50)
        assert {member.name for member in found} >= {"user129", "user1290", "user1299"}
        assert (await seen.fetch_member(found[0].id)).name == found[0].name


async def test_guilds_members_roles_and_channels_come_and_go(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle
) -> None:
    bot = Listener()
    async with running(bot, standin):
        seen = bot.get_guild(guild.id)
        assert seen is not None
        second = standin.add_guild("Second")
        await until(lambda: bot.joined == [second.id])
        second.kick_bot()
        await until(lambda: bot.left == [second.id])
        bob = guild.join(standin.add_user("bob"), permissions=["manage_guild"])
        await until(lambda: seen.get_member(bob.id))
        member = seen.get_member(bob.id)
        assert member is not None
        assert member.guild_permissions.manage_guild
        role = guild.add_role("Critics")
        guild.give(bob, role)
        await until(lambda: role.id in [r.id for r in member.roles])
        attic = guild.add_channel("attic")
        await until(lambda: seen.get_channel(attic.id))
        attic.delete()
        await until(lambda: not seen.get_channel(attic.id))
        guild.leave(bob)
        await until(lambda: not seen.get_member(bob.id))
        guild.go_unavailable()
        await until(lambda: seen.unavailable)
        guild.come_back()
        await until(lambda: not seen.unavailable)


async def test_second_start_after_a_sudden_death(
    standin: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    """A killed process leaves a session behind; the next one identifies beside it."""
    first = Listener()
    async with running(first, standin):
        for connection in standin.connections:
            connection.cut()
        await standin.wait_gone()
        second = Listener()
        async with running(second, standin):
            await alice.say(general, "who is there?")
            await until(lambda: second.contents == ["who is there?"])


async def test_outage(standin: DiscordStandIn, general: ChannelHandle, alice: Actor) -> None:
    """A client that could not reconnect at once identifies anew; what was said is in the log."""
    bot = Listener()
    async with running(bot, standin):
        async with standin.outage():
            await until(lambda: not standin.connections)
            await alice.say(general, "into the void")
        await standin.wait_ready()
        await alice.say(general, "hello again")
        await until(lambda: "hello again" in bot.contents)
        channel = bot.get_channel(general.id)
        assert isinstance(channel, discord.TextChannel)
        history = [message.content async for message in channel.history()]
        assert history == ["hello again", "into the void"]
