"""`/privacy`: what is held of whom, and what may be learnt from. Nobody else sees the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.cogs.answering import answer, place, require_switching
from bot.delivery import channel_key
from bot.errors import CommandError
from bot.privacy_commands import CONFIRMATION

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction


class Privacy(
    commands.GroupCog, group_name="privacy", group_description="What I hold of you, and its use."
):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands.privacy

    @app_commands.command(description="How much I hold of you, and what it may be used for here.")
    async def show(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.show(place(interaction), _author(interaction)))

    @app_commands.command(description="A file with everything that I hold of you.")
    async def export(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.export(_author(interaction)))

    @app_commands.command(description="Delete everything that I hold of you.")
    @app_commands.describe(confirm="There is no way back.")
    @app_commands.choices(
        confirm=[app_commands.Choice(name="Yes, forget me for good", value=CONFIRMATION)]
    )
    async def forget(self, interaction: Interaction, confirm: str) -> None:
        await answer(interaction, self._commands.forget(_author(interaction), confirm))

    @app_commands.command(description="Whether characters may be trained on what you say.")
    @app_commands.describe(switch="off wins over every server's on.")
    async def training(self, interaction: Interaction, switch: Literal["on", "off"]) -> None:
        author = _author(interaction)
        await answer(interaction, self._commands.training(place(interaction), author, switch))

    @app_commands.command(description="Whether anything is kept of what is said.")
    @app_commands.describe(
        switch="off: it is answered, and forgotten when the talk is over.",
        of="What you say, this channel with its threads, or this server.",
    )
    async def logging(
        self,
        interaction: Interaction,
        switch: Literal["on", "off"],
        of: Literal["me", "channel", "server"] = "me",
    ) -> None:
        if of == "channel":
            require_switching(interaction)
        elif of == "server":
            _require_managing(interaction)
        author = _author(interaction)
        await answer(interaction, self._commands.logging(place(interaction), author, switch, of))

    @app_commands.command(description="Whether characters may be trained on this server's talk.")
    @app_commands.describe(switch="Only for those who manage the server.")
    async def server(self, interaction: Interaction, switch: Literal["on", "off"]) -> None:
        _require_managing(interaction)
        author = _author(interaction)
        await answer(interaction, self._commands.server(place(interaction), author, switch))

    @app_commands.command(description="Whether characters may be trained on this channel's talk.")
    @app_commands.describe(switch="inherit: as the server, or a thread's channel, says.")
    async def channel(
        self, interaction: Interaction, switch: Literal["on", "off", "inherit"]
    ) -> None:
        require_switching(interaction)
        author = _author(interaction)
        await answer(interaction, self._commands.channel(place(interaction), author, switch))


def _author(interaction: Interaction) -> str:
    return channel_key(interaction.user.id)


def _require_managing(interaction: Interaction) -> None:
    if interaction.guild_id is not None and not interaction.permissions.manage_guild:
        raise CommandError("Deciding for the whole server needs the permission Manage Server.")
