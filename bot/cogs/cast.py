"""`/cast`: several characters in one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.answering import answer, choices, place, require_switching

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction


class Cast(
    commands.GroupCog, group_name="cast", group_description="Several characters in this channel."
):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands

    @app_commands.command(name="list", description="Who speaks here.")
    async def list_all(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.cast.list(place(interaction)))

    @app_commands.command(description="Let a further character speak here.")
    @app_commands.describe(
        name="A character.", adapter="What its replies come from; without it, what it prefers."
    )
    async def add(self, interaction: Interaction, name: str, adapter: str = "") -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.cast.add(place(interaction), name, adapter))

    @app_commands.command(description="Let one of them speak here no more.")
    @app_commands.describe(name="A character.")
    async def remove(self, interaction: Interaction, name: str) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.cast.remove(place(interaction), name))

    @add.autocomplete("name")
    @remove.autocomplete("name")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return choices(self._commands.suggest_personas(place(interaction), typed))

    @add.autocomplete("adapter")
    async def _adapters(
        self, interaction: Interaction, typed: str
    ) -> list[app_commands.Choice[str]]:
        return choices(await self._commands.suggest_adapters(typed))
