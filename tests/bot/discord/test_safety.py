"""Block list, limits and logging through Discord: who may decide, and what becomes of posts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from config import BotSettings, LimitSettings
from tests.bot.discord.conftest import Running, Town
from tests.bot.scripted import eventually, until, words
from tests.discord_standin import Actor, ChannelHandle, Message
from tests.discord_standin.interaction_state import Interaction
from tests.discord_standin.validation import walk

NAME = "Captain Mirela Vex"
BLOCKED = "You are blocked here"


@pytest.fixture(params=[True, False], ids=["webhook", "bot"])
def webhooks(request: pytest.FixtureRequest) -> bool:
    """Every test runs twice: characters under their own names, and under the bot's."""
    return bool(request.param)


async def asked(who: Actor, where: ChannelHandle, command: str, **options: object) -> str:
    """The answer to a command, which nobody else may see."""
    used = await who.slash(where, command, options)
    response = await used.wait_response()
    assert used.ephemeral
    return response.content


async def answered(town: Town, running: Running, content: str = "hi") -> Message:
    """The post of a complete reply to Alice."""
    question = await town.ask(content)
    by = NAME if town.config.discord.webhooks else town.server.bot_user
    post = await town.general.wait_message(by=by, after=question)
    await running.settled()
    return post


def button(post: Message, action: str) -> str:
    """The custom id of a button."""
    ids = [str(part["custom_id"]) for _, part in walk(post.components) if part["type"] == 2]
    return next(custom_id for custom_id in ids if custom_id.split(":")[1] == action)


async def heard(running: Running, where: ChannelHandle, post: Message) -> None:
    """Until the bot has dealt with a post of which nothing is kept."""
    database = running.behind.database

    async def there() -> bool:
        channel = await database.channels.get(f"discord:{where.id}")
        return channel is not None and await database.messages.newest_post(channel.id) == post.id

    await eventually(there)


async def test_who_is_blocked_reaches_no_character_in_any_way(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        told = await asked(town.admin, town.general, "block add", user=town.alice)
        assert told.startswith(f"{town.alice.mention} is blocked on this server")
        await heard(running, town.general, await town.ask("let me in"))
        await heard(running, town.general, await town.alice.say(town.general, "chatter"))
        await running.settled()
        assert len(running.client.requests) == 1

        for line, options in (("regenerate", {}), ("memory add", {"text": "I rule."})):
            assert BLOCKED in await asked(town.alice, town.general, line, **options)
        for action in ("regenerate", "good", "edit"):
            pressed = await town.alice.click(post, custom_id=button(post, action))
            assert BLOCKED in (await pressed.wait_response()).content
        await town.alice.react(post, "👎")
        await town.admin.react(post, "👍")
        channel = await running.behind.database.channels.get(f"discord:{town.general.id}")
        assert channel is not None

        async def voted() -> bool:
            cast = await running.behind.database.feedback.votes_cast(channel.id)
            return [vote.voter_key for vote in cast] == [f"discord:{town.admin.id}"]

        await eventually(voted)
        assert len(running.client.requests) == 1
        shown = await asked(town.alice, town.general, "privacy show")  # that stays theirs
        assert shown.startswith("I hold 1 message and 0 votes of yours.")

        await asked(town.admin, town.general, "block remove", user=town.alice)
        assert (await answered(town, running, "thank you")).content.endswith("thank you")


async def test_a_block_outlives_a_restart(town: Town) -> None:
    async with town.bot():
        await asked(town.admin, town.general, "block add", user=town.alice)
    async with town.bot() as again:
        await heard(again, town.general, await town.ask("let me in"))
        assert again.client.requests == []
        assert BLOCKED in await asked(town.alice, town.general, "status")


async def test_nor_does_an_open_form_bring_in_a_character(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        form = await town.admin.slash(town.general, "persona create")
        blocking = running.behind.turns.blocking
        await blocking.add(f"discord:{town.guild.id}", f"discord:{town.admin.id}")
        sent = await town.admin.submit_modal(form, {"Name": "Ash Reed"})
        assert BLOCKED in (await sent.wait_response()).content
        assert "ash-reed" not in {one.id for one in running.behind.casting.cast.all()}


async def test_a_form_that_was_open_is_closed_too(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        form = await town.alice.click(post, custom_id=button(post, "edit"))
        await asked(town.admin, town.general, "block add", user=town.alice)
        sent: Interaction = await town.alice.submit_modal(form, {"words": "foul"})
        assert BLOCKED in (await sent.wait_response()).content
        assert [text for _, text in await running.remembered(town.general)][-1] == post.content


async def test_the_list_is_shown_without_pinging_anybody(town: Town) -> None:
    async with town.bot():
        await asked(town.admin, town.general, "block add", user=town.alice)
        used = await town.admin.slash(town.market, "block list")
        shown = await used.wait_response()
        assert used.ephemeral
        assert shown.content.startswith(f"{town.alice.mention} since 20")
        assert shown.mentions == []


async def test_only_who_may_switch_blocks_and_nobody_blocks_who_manages(town: Town) -> None:
    owner = town.guild.join(town.server.add_user("owner"), permissions="manage_guild")
    async with town.bot() as running:
        for line in ("block add", "block remove"):
            told = await asked(town.alice, town.general, line, user=town.admin)
            assert "Switching needs the permission Manage Channels" in told
        assert "Switching needs" in await asked(town.alice, town.general, "block list")
        told = await asked(town.admin, town.general, "block add", user=owner)
        assert "manages this server and cannot be blocked" in told
        told = await asked(town.admin, town.general, "block add", user=town.admin)
        assert "You cannot block yourself" in told
        told = await asked(town.admin, town.general, "block add", user=town.server.bot_user)
        assert "Bots are never answered" in told
        told = await asked(town.admin, town.admin.dm(), "block list")
        assert "no server here" in told
        assert await running.behind.database.blocks.of(f"discord:{town.guild.id}") == []


async def test_the_configuration_blocks_in_direct_messages_too(town: Town) -> None:
    settings = BotSettings(blocked=[town.alice.id])
    town = replace(town, config=town.config.model_copy(update={"bot": settings}))
    async with town.bot() as running:
        await town.reply_to(await town.admin.say(town.admin.dm(), "hello"))
        await heard(running, town.alice.dm(), await town.alice.say(town.alice.dm(), "hello"))
        await running.settled()
        assert len(running.client.requests) == 1
        assert BLOCKED in await asked(town.alice, town.alice.dm(), "reset")


async def test_who_asks_too_much_is_told_once_in_small_print(town: Town) -> None:
    limits = LimitSettings(replies_per_minute=1)
    town = replace(town, config=town.config.model_copy(update={"limits": limits}))
    async with town.bot() as running:
        await answered(town, running)
        notice = await town.reply_to(await town.ask("again"))
        assert notice.content.startswith("-# You have had 1 reply within the minute")
        assert notice.mentions == []
        await running.remembers(town.general, [
            ("user", "hi"), ("character", "You said: Alice: hi"), ("user", "again"),
        ])  # fmt: skip
        await heard(running, town.general, await town.ask("and again"))
        await running.settled()
        assert len(town.general.by(town.server.bot_user)) == 1 + (not town.config.discord.webhooks)


async def test_who_decides_about_logging(town: Town) -> None:
    owner = town.guild.join(town.server.add_user("owner"), permissions="manage_guild")
    async with town.bot() as running:
        off = {"switch": "off"}
        await asked(town.alice, town.general, "privacy show")
        told = await asked(town.alice, town.general, "privacy logging", **off, of="channel")
        assert "needs the permission Manage Channels" in told
        told = await asked(town.admin, town.general, "privacy logging", **off, of="server")
        assert "needs the permission Manage Server" in told
        channel = await running.behind.database.channels.get(f"discord:{town.general.id}")
        assert channel is not None
        unlogged = running.behind.database.unlogged
        alice = f"discord:{town.alice.id}"
        assert await unlogged.reasons(channel, alice) == frozenset()
        await asked(town.alice, town.general, "privacy logging", **off)
        await asked(town.admin, town.general, "privacy logging", **off, of="channel")
        await asked(owner, town.market, "privacy logging", **off, of="server")
        assert await unlogged.reasons(channel, alice) == {"author", "channel", "server"}


async def test_a_talk_without_logging_leaves_only_posts(town: Town) -> None:
    async with town.bot() as running:
        await asked(town.alice, town.general, "privacy logging", switch="off")
        first = await answered(town, running, "I am in the kitchen")
        await running.remembers(town.general, [])
        await answered(town, running, "Where am I?")
        assert "I am in the kitchen" in str(running.client.requests[-1].messages)
        await running.remembers(town.general, [])
        assert await running.behind.database.unlogged.showed(first.id)
        by = NAME if town.config.discord.webhooks else town.server.bot_user
        # Nothing can be done with them, so nothing is offered; reactions are nobody's votes.
        assert [post.components for post in town.general.by(by)] == [[], []]
        await town.alice.react(first, "👍")
        assert "0 votes" in await asked(town.alice, town.general, "privacy show")


async def test_a_restart_takes_a_reply_in_passing_for_nothing_else(town: Town) -> None:
    """Its post, below an open question, is not the unfinished reply to that one."""
    async with town.bot() as running:
        await asked(town.alice, town.general, "privacy logging", switch="off")
        gate = asyncio.Event()
        never = words("not before the restart", gate=asyncio.Event())
        running.client.scripts.extend([words("In the kitchen.", gate=gate), never])
        await town.ask("Where am I?")
        await until(lambda: running.client.requests)
        open_question = await town.admin.say(town.general, f"{town.me} and I?")
        await running.remembers(town.general, [("user", "Where am I?"), ("user", "and I?")])
        gate.set()
        by = NAME if town.config.discord.webhooks else town.server.bot_user
        await town.general.wait_message(by=by, containing="In the kitchen.")
        await until(lambda: len(running.client.requests) == 2)
        await running.remembers(town.general, [("user", "and I?")])
    async with town.bot() as again:
        reply = await town.general.wait_message(by=by, after=open_question, containing="and I?")
        await again.settled()
        assert reply.content == "You said: Admin: and I?"
        await again.remembers(town.general, [("user", "and I?"), ("character", reply.content)])
