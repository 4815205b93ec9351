"""`/adapter`: which adapter the replies of a channel come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.answers import Answer
from bot.cogs.answering import answer, choices, place, require_ruling, require_switching

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction


class Adapters(commands.GroupCog, group_name="adapter", group_description="What was trained."):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands

    @app_commands.command(name="list", description="The adapters for the model in use.")
    async def list_all(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.adapter_list(place(interaction)))

    @app_commands.command(description="Where an adapter came from.")
    @app_commands.describe(name="An adapter; without it, the one in use here.")
    async def show(self, interaction: Interaction, name: str = "") -> None:
        await answer(interaction, self._commands.adapter_show(place(interaction), name))

    @app_commands.command(name="set", description="Answer through another adapter here.")
    @app_commands.describe(name="A name (the promoted version), name@2, base or default.")
    async def choose(self, interaction: Interaction, name: str) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.adapter_set(place(interaction), name))

    @app_commands.command(description="What an adapter's name stood for, and why that changed.")
    @app_commands.describe(name="An adapter; without it, the one in use here.")
    async def history(self, interaction: Interaction, name: str = "") -> None:
        await answer(interaction, self._commands.adapter_history.show(place(interaction), name))

    @app_commands.command(description="Back to the version that an adapter stood for before.")
    @app_commands.describe(name="An adapter; without it, the one in use here.")
    async def rollback(self, interaction: Interaction, name: str = "") -> None:
        async def go_back() -> Answer:
            await require_ruling(interaction)
            return await self._commands.adapter_history.rollback(place(interaction), name)

        await answer(interaction, go_back())

    @show.autocomplete("name")
    @choose.autocomplete("name")
    @history.autocomplete("name")
    @rollback.autocomplete("name")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return choices(await self._commands.suggest_adapters(typed))
