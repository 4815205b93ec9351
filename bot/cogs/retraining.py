"""`/retrain`: for whoever runs the bot, and for nobody else. Only who asked sees the answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.answers import Answer
from bot.cogs.answering import answer, choices
from bot.errors import CommandError

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

Work = Callable[[], Coroutine[object, object, Answer]]


class Retraining(
    commands.GroupCog,
    group_name="retrain",
    group_description="New versions of an adapter out of what was said; for whoever runs me.",
):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._bot = bot
        self._owners = frozenset(bot.behind.config.discord.owners)
        self._suggest = bot.behind.commands.suggest_adapters
        self._commands = bot.behind.commands.retraining

    @app_commands.command(description="What it does now, or what came of the last run.")
    async def status(self, interaction: Interaction) -> None:
        await answer(interaction, self._for_owner(interaction, self._commands.status))

    @app_commands.command(description="Train now; the present version goes on answering meanwhile.")
    @app_commands.describe(
        adapter="The adapter that gets a new version; without it, the configured one.",
        force="Also with fewer new replies than retrain.min_new_replies asks for.",
    )
    async def run(self, interaction: Interaction, adapter: str = "", force: bool = False) -> None:
        async def begin() -> Answer:
            return await self._commands.run(adapter, force=force, trigger="discord")

        await answer(interaction, self._for_owner(interaction, begin))

    @app_commands.command(description="End the run at its next safe point, for good.")
    async def cancel(self, interaction: Interaction) -> None:
        await answer(interaction, self._for_owner(interaction, self._commands.cancel))

    @app_commands.command(description="The last runs and what came of them.")
    async def history(self, interaction: Interaction) -> None:
        await answer(interaction, self._for_owner(interaction, self._commands.history))

    @run.autocomplete("adapter")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        found = await self._suggest(typed)
        return choices(name for name in found if "@" not in name.value and name.value != "base")

    async def _for_owner(self, interaction: Interaction, work: Work) -> Answer:
        """What `work` gives an owner. Raises `CommandError` for everybody else."""
        user = interaction.user
        if user.id not in self._owners and not await self._bot.is_owner(user):
            raise CommandError(
                "That is for whoever runs me: the application's owner, and discord.owners in the"
                " configuration."
            )
        return await work()
