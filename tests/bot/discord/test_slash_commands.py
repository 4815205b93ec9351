"""The slash commands: what they answer, to whom, how fast, and who may switch."""

from __future__ import annotations

import asyncio

import pytest

from tests.bot.discord.conftest import Town
from tests.bot.scripted import words

READING = [
    "persona list",
    "persona show",
    "adapter list",
    "adapter show",
    "adapter history",
    "settings show",
    "status",
]
SWITCHING: list[tuple[str, dict[str, str]]] = [
    ("persona set", {"name": "bramble"}),
    ("adapter set", {"name": "base"}),
    ("settings set", {"name": "temperature", "value": "0.5"}),
    ("reset", {}),
]


@pytest.mark.parametrize("command", READING)
async def test_reading_commands_answer_only_who_asked(town: Town, command: str) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        used = await town.alice.slash(town.general, command)
        response = await used.wait_response()
        assert used.ephemeral
        assert response.content or response.embeds


@pytest.mark.parametrize(("command", "options"), SWITCHING)
async def test_switching_needs_the_permission(
    town: Town, command: str, options: dict[str, str]
) -> None:
    async with town.bot():
        used = await town.alice.slash(town.general, command, options)
        assert (await used.wait_response()).content == (
            "Switching needs the permission Manage Channels in this channel."
        )
        assert used.ephemeral
        used = await town.admin.slash(town.general, command, options)
        await used.wait_response()
        assert not used.ephemeral
        used = await town.alice.slash(town.alice.dm(), command, options)
        assert "permission" not in (await used.wait_response()).content


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("adapter set", {"name": "a" * 6000}),
        ("adapter show", {"name": "`" * 6000}),
        ("persona set", {"name": "x" * 6000}),
        ("settings set", {"name": "y" * 6000, "value": "1"}),
        ("settings set", {"name": "temperature", "value": "z" * 6000}),
        ("settings set", {"name": "mode", "value": "🎉" * 3000}),
    ],
)
async def test_a_refusal_that_quotes_a_long_text_still_arrives(
    town: Town, command: str, options: dict[str, str]
) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        used = await town.admin.slash(town.general, command, options)
        assert (await used.wait_response()).content
        assert used.ephemeral


async def test_a_new_persona_greets_and_answers(town: Town) -> None:
    async with town.bot() as running:
        await town.admin.slash(town.general, "persona set", name="bramble")
        character = running.behind.casting.cast.get("bramble")
        greeting = await town.general.wait_message(
            by=town.server.bot_user, where=lambda m: m.interaction_metadata is None
        )
        assert greeting.content
        await town.reply_to(await town.ask("hi"))
        prompt = running.client.requests[-1].messages
        assert character.name in prompt[0].content
        assert prompt[1].content == greeting.content
        assert [m.role for m in prompt] == ["system", "assistant", "user"]


async def test_settings_reach_the_model_of_that_channel_only(town: Town) -> None:
    async with town.bot() as running:
        await town.admin.slash(town.general, "settings set", name="temperature", value="0.25")
        await town.reply_to(await town.ask("hi"))
        await town.reply_to(await town.ask("hi", town.market))
        here, there = (request.sampling.temperature for request in running.client.requests)
        assert (here, there) == (0.25, 0.8)
        await town.admin.slash(town.general, "settings set", name="temperature", value="default")
        await town.reply_to(await town.ask("hi"))
        assert running.client.requests[-1].sampling.temperature == 0.8


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("persona set", {"name": "mirella"}, "did you mean mirela"),
        ("adapter set", {"name": "pirate"}, "There is no adapter 'pirate'"),
        ("adapter set", {"name": "../../etc"}, "is not an adapter's name"),
        ("settings set", {"name": "temperature", "value": "9"}, "at least 0 and at most 2"),
        ("settings set", {"name": "temperature", "value": "hot"}, "must be a number"),
        ("settings set", {"name": "humour", "value": "1"}, "There is no setting 'humour'"),
        ("settings set", {"name": "mode", "value": "never"}, "mention, always or sometimes"),
        ("settings set", {"name": "max_new_tokens", "value": "4000"}, "1024 at most"),
    ],
)
async def test_mistakes_are_one_sentence_for_the_user(
    town: Town, command: str, options: dict[str, str], said: str
) -> None:
    async with town.bot():
        used = await town.admin.slash(town.general, command, options)
        response = await used.wait_response()
        assert said in response.content
        assert used.ephemeral


async def test_autocomplete(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)

        async def offered(command: str, focused: str, value: str, **more: str) -> list[str]:
            found = await town.alice.autocomplete(
                town.general, command, focused=focused, value=value, options=more
            )
            assert all(len(choice["name"]) <= 100 for choice in found)
            return [choice["value"] for choice in found]

        assert await offered("persona set", "name", "vex") == ["mirela"]
        assert "bramble" in await offered("persona show", "name", "")
        assert await offered("adapter set", "name", "") == ["base", "default"]
        assert await offered("settings set", "name", "top_") == ["top_p", "top_k"]
        modes = await offered("settings set", "value", "", name="mode")
        assert modes == ["mention", "always", "sometimes", "default"]
        assert await offered("settings set", "value", "0.", name="top_p") == []


async def test_commands_are_told_to_discord_only_when_they_changed(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
    async with town.bot():
        await town.alice.slash(town.general, "status")
    assert len(town.server.commands.syncs) == 1


async def test_commands_answer_while_a_reply_streams_and_while_the_model_loads(town: Town) -> None:
    from tests.bot.scripted import ScriptedClient

    client = ScriptedClient(town.config.adapters_dir)
    client.start_gate = asyncio.Event()
    async with town.bot(client):
        asked = await town.ask("hi")
        used = await town.alice.slash(town.general, "status")
        assert (used.acknowledged_after or 9) < 3
        client.scripts.append(words("a long reply", pause=0.2))
        client.start_gate.set()
        await town.general.wait_typing()
        used = await town.alice.slash(town.general, "persona list")
        assert (used.acknowledged_after or 9) < 3
        await town.reply_to(asked)


async def test_a_slow_answer_is_deferred(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.cogs import answering

    monkeypatch.setattr(answering, "PATIENCE_SECONDS", 0.05)
    async with town.bot() as running:
        async with running.behind.database.transaction():
            used = await town.admin.slash(town.general, "settings set", name="top_k", value="5")
            assert used.kind == "deferred"
        response = await used.wait_response()
        assert "top_k = 5" in response.content
        async with running.behind.database.transaction():
            used = await town.admin.slash(town.general, "settings set", name="top_k", value="-1")
        assert "at least 0" in (await used.wait_response()).content


async def test_what_nobody_foresaw_is_a_sentence_and_a_log_line(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with town.bot() as running:

        def broken() -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(running.client, "status", broken)
        used = await town.alice.slash(town.general, "status")
        assert "Something went wrong" in (await used.wait_response()).content
        assert used.ephemeral
    assert "ZeroDivisionError" in caplog.text


async def test_stop_ends_the_reply_and_keeps_what_was_shown(town: Town) -> None:
    async with town.bot() as running:
        used = await town.alice.slash(town.general, "stop")
        assert "No reply is being written" in (await used.wait_response()).content
        running.client.scripts.append(
            words("a good begin and never", gate=asyncio.Event(), gate_at=3)
        )
        reply = await town.reply_to(await town.ask("hi"))
        used = await town.alice.slash(town.general, "stop")
        assert (await used.wait_response()).content == "Stopped."
        await running.settled()
        assert reply.content == "a good begin"
        assert (await running.remembered(town.general))[-1] == ("character", "a good begin")


async def test_a_refused_command_sync_does_not_keep_the_bot_from_answering(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.server.faults.fail("PUT", "*", status=400, message="no commands today")
    async with town.bot() as running:
        await town.reply_to(await town.ask("hi"))
        await running.settled()
    assert "did not take the slash commands" in caplog.text
    async with town.bot():
        await town.server.wait_synced(1)


async def test_a_full_disk_does_not_keep_the_bot_from_answering(town: Town) -> None:
    (town.config.paths.data / "discord_commands").mkdir()
    async with town.bot():
        await town.reply_to(await town.ask("hi"))
