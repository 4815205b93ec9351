"""`/block`, and what is closed to those who are blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.blocking import BLOCKED
from bot.cogs.answering import answer, place, require_switching
from bot.delivery import channel_key
from bot.errors import CommandError

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

_OPEN = ("privacy",)  # commands that stay for everybody: what is held of them is theirs


class Blocking(
    commands.GroupCog, group_name="block", group_description="Whom I do not answer on this server."
):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands.blocks

    @app_commands.command(description="Do not answer, remember or learn from somebody any more.")
    @app_commands.describe(user="Who; also by their id.")
    async def add(self, interaction: Interaction, user: discord.User) -> None:
        require_switching(interaction)
        _require_ordinary(user)
        work = self._commands.add(place(interaction), _key(interaction.user), _key(user))
        await answer(interaction, work)

    @app_commands.command(description="Answer somebody again.")
    @app_commands.describe(user="Who; also by their id.")
    async def remove(self, interaction: Interaction, user: discord.User) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.remove(place(interaction), _key(user)))

    @app_commands.command(name="list", description="Who is blocked on this server.")
    async def list_all(self, interaction: Interaction) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.list(place(interaction)))


def require_unblocked(interaction: Interaction) -> None:
    """Raise `CommandError` if who used a command or a button is blocked there."""
    guild = channel_key(interaction.guild_id) if interaction.guild_id is not None else None
    if interaction.client.behind.turns.blocking.applies(guild, _key(interaction.user)):
        raise CommandError(BLOCKED)


async def admitted(interaction: Interaction) -> bool:
    """Whether a command may go on; who is blocked is told why it may not."""
    data: dict[str, Any] = dict(interaction.data or {})
    is_command = interaction.type is discord.InteractionType.application_command
    if not is_command or data.get("name") in _OPEN:
        return True
    try:
        require_unblocked(interaction)
    except CommandError as error:
        await interaction.client.error_handler.command(interaction, error)
        return False
    return True


def _key(user: discord.User | discord.Member) -> str:
    return channel_key(user.id)


def _require_ordinary(user: discord.User | discord.Member) -> None:
    """Who manages the server could not be kept from taking the block back, so there is none."""
    if user.bot:
        raise CommandError("Bots are never answered, so there is nothing to block.")
    if isinstance(user, discord.Member):
        rights = user.resolved_permissions or user.guild_permissions
        if rights.manage_guild:
            raise CommandError(f"{user.display_name} manages this server and cannot be blocked.")
