"""`/persona`: who speaks in a channel."""

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


class Characters(commands.GroupCog, group_name="persona", group_description="Who speaks here."):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands

    @app_commands.command(name="list", description="The whole cast.")
    async def list_all(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.persona_list(place(interaction)))

    @app_commands.command(description="What a character is like.")
    @app_commands.describe(name="A character; without it, the one who speaks here.")
    async def show(self, interaction: Interaction, name: str = "") -> None:
        await answer(interaction, self._commands.persona_show(place(interaction), name))

    @app_commands.command(name="set", description="Let another character speak here.")
    @app_commands.describe(name="A character, or default.")
    async def choose(self, interaction: Interaction, name: str) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.persona_set(place(interaction), name))

    @show.autocomplete("name")
    @choose.autocomplete("name")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return choices(self._commands.suggest_personas(typed))
