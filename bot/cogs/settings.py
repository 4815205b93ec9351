"""`/settings` and `/reset`: how the character of a channel answers, and a fresh start."""

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


class ChannelSettings(commands.Cog):
    settings = app_commands.Group(name="settings", description="How the character answers here.")

    def __init__(self, bot: TroupeBot) -> None:
        self._commands = bot.behind.commands

    @settings.command(description="All settings of this channel.")
    async def show(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.settings_show(place(interaction)))

    @settings.command(name="set", description="Change a setting of this channel.")
    @app_commands.describe(name="Which setting.", value="Its value, or default.")
    async def change(self, interaction: Interaction, name: str, value: str) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.settings_set(place(interaction), name, value))

    @app_commands.command(description="Start afresh: the character forgets what was said here.")
    async def reset(self, interaction: Interaction) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.reset(place(interaction)))

    @change.autocomplete("name")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return choices(self._commands.suggest_settings(typed))

    @change.autocomplete("value")
    async def _values(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        name = getattr(interaction.namespace, "name", "")
        return choices(self._commands.suggest_values(name, typed))
