"""`/status`: how the model and the channel are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.answering import answer, place

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction


class Status(commands.Cog):
    def __init__(self, bot: TroupeBot) -> None:
        self._commands = bot.behind.commands

    @app_commands.command(description="The model, the queue and this channel.")
    async def status(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.status(place(interaction)))
