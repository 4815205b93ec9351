"""`/privacy` in Discord: who may decide what, and that nobody else sees the answers."""

from __future__ import annotations

import gzip
import json

import pytest

from bot.cogs import answering
from tests.bot.discord.conftest import Town
from tests.discord_standin import Actor, Message
from tests.discord_standin.handles import ChannelHandle


async def asked(
    who: Actor, where: ChannelHandle, command: str, options: dict[str, str] | None = None
) -> Message:
    """The answer to a command, which nobody else may see."""
    used = await who.slash(where, f"privacy {command}", options or {})
    response = await used.wait_response()
    assert used.ephemeral
    return response


async def test_what_is_held_is_counted_and_handed_out(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("the goat is called Balthasar"))
        await running.settled()
        shown = await asked(town.alice, town.general, "show")
        assert shown.content.startswith("I hold 1 message and 0 votes of yours.")
        assert "0 messages" in (await asked(town.admin, town.general, "show")).content
        exported = await asked(town.alice, town.general, "export")
        [file] = exported.attachments
        held = json.loads(file.data)
        assert [entry["content"] for entry in held["messages"]] == ["the goat is called Balthasar"]
        assert held["author_key"] == f"discord:{town.alice.id}"
        assert file.filename.endswith(".json")


async def test_forgetting_is_chosen_from_a_list_and_done(town: Town) -> None:
    async with town.bot() as running:
        await town.reply_to(await town.ask("a secret"))
        await town.admin.say(town.general, f"{town.me} not mine")
        await running.settled()
        with pytest.raises(AssertionError, match="confirm"):
            await asked(town.alice, town.general, "forget")
        done = await asked(town.alice, town.general, "forget", {"confirm": "me"})
        assert done.content == "It is gone: I deleted 1 message and 0 votes of yours."
        said = [content for role, content in await running.remembered(town.general)]
        assert "a secret" not in said
        assert "not mine" in said


async def test_everybody_decides_for_themselves(town: Town) -> None:
    async with town.bot() as running:
        consent = running.behind.database.consent
        await asked(town.alice, town.general, "training", {"switch": "off"})
        assert await consent.opted_out() == {f"discord:{town.alice.id}"}
        answer = await asked(town.alice, town.alice.dm(), "training", {"switch": "on"})
        assert "may be used to train" in answer.content
        assert await consent.opted_out() == frozenset()
        direct = await running.behind.database.channels.get(f"discord:{town.alice.dm().id}")
        assert direct is not None
        assert await consent.trainable(direct)


async def test_only_who_manages_the_server_decides_for_it(town: Town) -> None:
    owner = town.guild.join(town.server.add_user("owner"), permissions="manage_guild")
    async with town.bot() as running:
        consent = running.behind.database.consent
        key = f"discord:{town.guild.id}"
        for who in (town.alice, town.admin):  # managing channels is not enough
            refused = await asked(who, town.general, "server", {"switch": "on"})
            assert "needs the permission Manage Server" in refused.content
        assert await consent.server(key) is None
        await asked(owner, town.general, "server", {"switch": "on"})
        assert await consent.server(key) is True
        refused = await asked(owner, owner.dm(), "server", {"switch": "on"})
        assert "no server here" in refused.content


async def test_only_who_may_switch_decides_for_a_channel(town: Town) -> None:
    owner = town.guild.join(town.server.add_user("owner"), permissions="manage_guild")
    async with town.bot() as running:
        await asked(owner, town.general, "server", {"switch": "on"})
        refused = await asked(town.alice, town.general, "channel", {"switch": "off"})
        assert "needs the permission Manage Channels" in refused.content
        await asked(town.admin, town.general, "channel", {"switch": "off"})
        found = {}
        for where in (town.general, town.market):
            await asked(town.alice, where, "show")
            channel = await running.behind.database.channels.get(f"discord:{where.id}")
            assert channel is not None
            found[where.name] = await running.behind.database.consent.trainable(channel)
        assert found == {"general": False, "market": True}
        await asked(town.admin, town.general, "channel", {"switch": "inherit"})
        answer = await asked(town.alice, town.general, "show")
        assert "may be used to train" in answer.content


async def test_a_thread_of_a_channel_that_stays_out_stays_out(town: Town) -> None:
    owner = town.guild.join(town.server.add_user("owner"), permissions="manage_guild")
    async with town.bot() as running:
        await asked(owner, town.general, "server", {"switch": "on"})
        await asked(town.admin, town.general, "channel", {"switch": "off"})
        thread = await town.alice.start_thread(town.general, "aside")
        await town.reply_to(await town.ask("hello", thread))
        channel = await running.behind.database.channels.get(f"discord:{thread.id}")
        assert channel is not None
        assert channel.parent_key == f"discord:{town.general.id}"
        assert not await running.behind.database.consent.trainable(channel)


async def test_a_file_too_large_for_discord_is_packed_and_then_refused(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = answering._fitting
    most = 3000
    monkeypatch.setattr(answering, "_fitting", lambda file, limit: fitting(file, most))
    async with town.bot() as running:
        await town.ask("la " * 600)
        await town.reply_to(await town.ask("la " * 600))
        await running.settled()
        exported = await asked(town.alice, town.general, "export")
        [file] = exported.attachments
        assert file.filename.endswith(".json.gz")
        assert len(json.loads(gzip.decompress(file.data))["messages"]) == 2
        most = 10
        refused = await asked(town.alice, town.general, "export")
        assert "even when packed" in refused.content
        assert not refused.attachments
