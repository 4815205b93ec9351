"""What Discord sees while a training has the GPU."""

from __future__ import annotations

from typing import Any

import pytest

from inference.gpu_lease import rehearsal
from tests.bot.discord.conftest import Town
from tests.bot.scripted import ScriptedClient, until


def _presence(town: Town) -> dict[str, Any]:
    [session] = town.server.sessions
    return session.presence or {}


async def test_presence_and_a_notice_say_that_replies_wait(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.rehearsing.LOOK_SECONDS", 0.01)
    client = ScriptedClient(town.config.adapters_dir)
    client.shares_devices = True
    async with town.bot(client) as running:
        await town.reply_to(await town.ask("hello"))
        with rehearsal(town.config.paths.data, patience_seconds=0):
            await until(lambda: _presence(town).get("status") == "idle")
            [activity] = _presence(town)["activities"]
            assert activity["state"] == "Rehearsing; messages wait"
            asked = await town.ask("are you there?")
            notice = await town.reply_to(asked)
            assert notice.content == (
                "-# Captain Mirela Vex is rehearsing; your message waits until that is over."
            )
        await until(lambda: _presence(town).get("status") == "online")
        assert _presence(town)["activities"] == []
        await running.settled()
        last = town.general.by(town.server.bot_user)[-1]
        assert last.content == "You said: Alice: are you there?"


async def test_a_bot_that_starts_in_the_middle_of_it_says_so_from_its_first_moment(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.rehearsing.LOOK_SECONDS", 0.01)
    client = ScriptedClient(town.config.adapters_dir)
    client.shares_devices = True
    with rehearsal(town.config.paths.data, patience_seconds=0):
        async with town.bot(client) as running:
            await until(lambda: _presence(town).get("status") == "idle")
            assert not running.behind.ready.is_set()
