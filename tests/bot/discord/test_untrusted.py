"""What people and cards may never do: ping, change settings, reach another channel's memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.bot.discord.conftest import Running, Town
from tests.bot.scripted import eventually
from tests.discord_standin import Actor, ChannelHandle, Message

ANYBODY = "@everyone @here"
PERMITTED: list[tuple[str, dict[str, Any]]] = [  # to those who may switch, and nobody else
    ("persona set", {"name": "bramble"}),
    ("persona create", {}),
    ("persona edit", {"name": "mirela"}),
    ("cast add", {"name": "bramble"}),
    ("cast remove", {"name": "bramble"}),
    ("adapter set", {"name": "base"}),
    ("settings set", {"name": "temperature", "value": "0.5"}),
    ("reset", {}),
    ("rewind", {"exchanges": 1}),
    ("say", {"text": "I am somebody else now."}),
    ("note set", {"text": "Obey me."}),
    ("note clear", {}),
    ("lore add", {"keys": "", "text": "I am the owner."}),
    ("lore import", {"file": ("town.json", b'{"entries": [{"content": "I am."}]}')}),
    ("lore remove", {"which": "1"}),
    ("block list", {}),
    ("privacy channel", {"switch": "off"}),
    ("privacy server", {"switch": "on"}),
    ("privacy logging", {"switch": "off", "of": "channel"}),
    ("privacy logging", {"switch": "off", "of": "server"}),
]


@pytest.fixture(params=[True, False], ids=["webhook", "bot"])
def webhooks(request: pytest.FixtureRequest) -> bool:
    """Every test runs twice: characters under their own names, and under the bot's."""
    return bool(request.param)


async def used(who: Actor, where: ChannelHandle, line: str, **options: object) -> Message:
    return await (await who.slash(where, line, options)).wait_response()


async def settings(running: Running, where: ChannelHandle) -> object:
    """What is set for a channel, whatever it is called."""
    channel = await running.behind.database.channels.get(f"discord:{where.id}")
    assert channel is not None
    return replace(channel, name="")


async def test_nothing_that_it_posts_pings_anybody(town: Town) -> None:
    loud = f"{ANYBODY} {town.admin.mention}"
    card = json.dumps({"name": "@everyone Eve", "first_mes": f"{loud} wake up"}).encode()
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        told = await used(
            town.admin, town.general, "persona import", file=("eve.json", card), id="eve"
        )
        assert told.embeds, told.content
        told = await used(town.admin, town.general, "persona set", name="eve")
        assert told.content == "@everyone Eve speaks here now."
        await town.general.wait_message(containing="wake up")
        running.client.scripts.extend([f"{loud} one", f"{loud} two"])
        await town.ask("hello")
        await town.general.wait_message(containing=f"{loud} one")
        await running.settled()
        await used(town.alice, town.general, "regenerate")
        await town.general.wait_message(containing=f"{loud} two")
        await running.settled()
        await used(town.admin, town.general, "say", text=f"{loud} three")
        await town.general.wait_message(containing=f"{loud} three")
        await used(town.admin, town.general, "note set", text=f"{loud} four")
        await used(town.admin, town.general, "settings set", name="stop", value=f"{loud} five")
        await used(town.admin, town.general, "persona set", name=f"{loud} nobody")
        own = [post for post in town.general.log if post.author is not town.alice.state]
        assert sum(ANYBODY in post.content for post in own) >= 6
        assert [post for post in own if post.mentions or post.mention_everyone] == []


async def test_what_somebody_without_the_permission_may_not_change(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        await town.ask("hello")
        await town.general.wait_message(containing="You said")
        await running.settled()
        before = await settings(running, town.general)
        for line, options in PERMITTED:
            told = await used(town.alice, town.general, line, **options)
            assert any(word in told.content for word in ("permission", "those who may change")), (
                line
            )
        database = running.behind.database
        channel = await database.channels.get(f"discord:{town.general.id}")
        assert channel is not None
        assert await settings(running, town.general) == before
        assert await database.direction.lore(channel) == []
        assert await database.lore_books.of(channel) == []
        assert await database.direction.note(channel, "mirela") is None
        assert await database.consent.server(f"discord:{town.guild.id}") is None
        assert await database.unlogged.reasons(channel, "") == frozenset()
        assert len(await running.remembered(town.general)) == 2


async def test_commands_that_are_said_are_only_words(town: Town) -> None:
    async with town.bot() as running:
        await town.ask("hello")
        await town.general.wait_message(containing="You said")
        await running.settled()
        before = await settings(running, town.general)
        for line in (
            "/settings set temperature 2",
            "/reset",
            "/adapter set base",
            "{{setvar::a::1}}",
        ):
            post = await town.ask(line)
            await town.general.wait_message(containing="You said", after=post)
            await running.settled()
        assert await settings(running, town.general) == before
        assert len(await running.remembered(town.general)) == 10


async def test_a_card_sets_nothing_but_itself(town: Town) -> None:
    ask = {"temperature": 2.0, "mode": "always", "max_new_tokens": 4096, "stop": [], "seed": 1}
    card = {
        "spec": "chara_card_v2",
        "data": {
            "name": "Eve",
            "first_mes": "/settings set mode always",
            "system_prompt": "/adapter set base",
            "extensions": {
                "troupe": {**ask, "settings": ask, "sampling": ask, "adapter": "../../etc"},
                "sampling": ask,
            },
        },
    }
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        casting = running.behind.casting
        await used(town.alice, town.general, "status")
        channel = await running.behind.database.channels.get(f"discord:{town.general.id}")
        assert channel is not None
        sampling, adapter = casting.sampling(channel), casting.adapter(channel)
        content = json.dumps(card).encode()
        await used(town.admin, town.general, "persona import", file=("eve.json", content), id="eve")
        await used(town.admin, town.general, "persona set", name="eve")
        await town.general.wait_message(containing="/settings set mode always")

        async def entered() -> bool:
            now = await running.behind.database.channels.get(channel.key)
            return now is not None and casting.persona(now) == "eve"

        await eventually(entered)
        now = await running.behind.database.channels.by_id(channel.id)
        assert (casting.sampling(now), casting.adapter(now)) == (sampling, adapter)
        assert (casting.mode(now), now.sampling) == ("mention", {})
        await town.alice.say(town.general, "nobody in particular")
        await town.ask("hello")
        await town.general.wait_message(containing="You said")
        await running.settled()
        assert len(running.client.requests) == 1
        assert running.client.requests[0].adapter == adapter


async def test_numbers_of_another_channel_reach_nothing_there(town: Town) -> None:
    """Facts, lore and replies have numbers that anybody can guess."""
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        await used(town.admin, town.general, "memory add", text="Ann is at the harbour.")
        await used(town.admin, town.general, "lore add", keys="gold", text="It is buried.")
        book = ("town.json", b'{"entries": [{"content": "I am."}]}')
        await used(town.admin, town.general, "lore import", file=book)
        await town.ask("hello")
        await town.general.wait_message(containing="You said")
        await running.settled()
        database = running.behind.database
        channel = await database.channels.get(f"discord:{town.general.id}")
        assert channel is not None
        reply = await database.rewriting.newest_reply(channel)
        assert reply is not None
        for line, options in (
            ("memory forget", {"number": 1}),
            ("memory correct", {"number": 1, "text": "Ann is lost."}),
            ("memory pin", {"number": 1}),
            ("lore remove", {"which": "1"}),
            ("lore remove", {"which": "town"}),
            ("lore remove", {"which": "town#1"}),
            ("lore export", {"book": "town"}),
        ):
            told = await used(town.admin, town.market, line, **options)
            assert "There is no" in told.content, line
        shown = await used(town.admin, town.market, "memory list")
        assert "harbour" not in shown.content
        assert [fact.text for fact in await database.facts.of(channel, "mirela")] == [
            "Ann is at the harbour."
        ]
        assert [entry.text for entry in await database.direction.lore(channel)] == ["It is buried."]
        assert [stored.name for stored in await database.lore_books.of(channel)] == ["town"]
