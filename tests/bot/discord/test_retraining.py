"""`/retrain` in Discord: for whoever runs the bot, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from db.runs import Run
from tests.bot.discord.conftest import Town

COMMANDS = ["retrain status", "retrain history", "retrain run", "retrain cancel"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_administrator_of_a_server_is_nobody_here(town: Town, command: str) -> None:
    async with town.bot() as running:
        await running.behind.database.runs.begin(Run("k", "default", started_at=1.0))
        used = await town.admin.slash(town.general, command)
        assert "for whoever runs me" in (await used.wait_response()).content
        assert used.ephemeral
        assert not await running.behind.database.runs.is_cancelled("k")
        assert running.behind.commands.retraining._process is None


async def test_the_application_s_owner_sees_and_ends_runs(town: Town) -> None:
    owner = town.server.owner
    async with town.bot() as running:
        runs = running.behind.database.runs
        await runs.begin(Run("k", "default", stage="train", started_at=1.0))
        used = await owner.slash(town.general, "retrain status")
        assert "k of `default` was broken off in train" in (await used.wait_response()).content
        assert used.ephemeral
        used = await owner.slash(owner.dm(), "retrain cancel")
        assert "will not be gone on with" in (await used.wait_response()).content
        assert await runs.is_cancelled("k")
        await runs.finish("k", "cancelled", "Somebody asked for it.", 2.0)
        used = await owner.slash(town.general, "retrain history")
        assert "Somebody asked for it." in (await used.wait_response()).content


async def test_owners_of_the_configuration(town: Town) -> None:
    discord = town.config.discord.model_copy(update={"owners": [town.alice.id]})
    other = replace(town, config=town.config.model_copy(update={"discord": discord}))
    async with other.bot():
        used = await town.alice.slash(town.general, "retrain status")
        assert "Nothing was retrained yet" in (await used.wait_response()).content
        used = await town.admin.slash(town.general, "retrain status")
        assert "for whoever runs me" in (await used.wait_response()).content
        used = await town.server.owner.slash(town.general, "retrain status")
        assert "Nothing was retrained yet" in (await used.wait_response()).content


async def test_adapters_to_retrain_are_offered_by_name(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        found = await town.alice.autocomplete(
            town.general, "retrain run", focused="adapter", value=""
        )
        assert [choice["value"] for choice in found] == ["default"]  # neither base nor versions
