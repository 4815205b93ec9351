"""How every slash command answers: in time, to the right people, in as many messages as needed."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, TypeVar

import discord
from discord import app_commands

from bot.answers import Answer, Attachment, Suggestion
from bot.cogs.sheets import embed_of
from bot.errors import CommandError
from bot.hearing import place_of
from bot.incoming import Place
from bot.splitting import split

if TYPE_CHECKING:
    from bot.client import TroupeBot

T = TypeVar("T")

PATIENCE_SECONDS = 1.5  # Discord gives up after three
_MOST_CHOICES = 25
_CHOICE_LENGTH = 100


async def answer(
    interaction: discord.Interaction[TroupeBot], work: Coroutine[object, object, Answer]
) -> None:
    """Send what `work` gives, deferring when it takes long; its failures are raised.

    An answer that everybody should see is still ephemeral when it had to be deferred, because
    Discord wants to know at that moment, and a failure is nobody else's business.
    """
    result = await in_time(interaction, work, ephemeral=True, thinking=True)
    text = result.text if result.sheet is None else result.sheet.lead
    first, *others = split(text) or ["" if result.sheet is not None else "There is nothing."]
    hidden = not result.public
    file: discord.File = discord.utils.MISSING
    embed: discord.Embed = discord.utils.MISSING
    if result.sheet is not None:
        embed, picture = embed_of(result.sheet)
        file = picture or discord.utils.MISSING
    if result.file is not None:
        file = await asyncio.to_thread(_fitting, result.file, interaction.filesize_limit)
    if interaction.response.is_done():
        await interaction.followup.send(first, file=file, embed=embed, ephemeral=True)
    else:
        await interaction.response.send_message(first, file=file, embed=embed, ephemeral=hidden)
    for text in others:
        await interaction.followup.send(text, ephemeral=hidden)
    if result.enters is not None:
        commands = interaction.client.behind.commands
        await commands.greet(place(interaction), result.enters, interaction.user.display_name)


async def in_time(
    interaction: discord.Interaction[TroupeBot], work: Coroutine[object, object, T], **how: bool
) -> T:
    """What `work` gives; the interaction is deferred, and `how`, where that takes long."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    try:
        if not task.done():
            await interaction.response.defer(**how)
    finally:  # where Discord cannot be reached, the work still ends, and its failure is heard
        result = await task
    return result


def _fitting(attachment: Attachment, most: int) -> discord.File:
    """The file as Discord takes it, packed where it is longer than `most` bytes."""
    name, content = attachment.name, attachment.content
    if len(content) > most:
        name, content = f"{name}.gz", gzip.compress(content)
    if len(content) > most:
        raise CommandError(
            f"The file has {len(content) >> 20} MiB even when packed, and Discord takes"
            f" {most >> 20} MiB here; ask whoever runs me for it."
        )
    return discord.File(io.BytesIO(content), filename=name)


def place(interaction: discord.Interaction[TroupeBot]) -> Place:
    """Where the command was used."""
    if interaction.channel_id is None:
        raise CommandError("This command needs a channel.")
    return place_of(interaction.channel, interaction.channel_id, interaction.guild_id)


def require_switching(interaction: discord.Interaction[TroupeBot]) -> None:
    """Raise `CommandError` unless the user may change the channel's settings.

    In a direct message both sides are alone, so everybody may.
    """
    if may_switch(interaction):
        return
    permission = interaction.client.behind.config.discord.switch_permission
    name = permission.replace("_", " ").title()
    raise CommandError(f"Switching needs the permission {name} in this channel.")


def may_switch(interaction: discord.Interaction[TroupeBot]) -> bool:
    """Whether the user may change the channel's settings."""
    permission = interaction.client.behind.config.discord.switch_permission
    return interaction.guild_id is None or bool(getattr(interaction.permissions, permission))


async def require_ruling(interaction: discord.Interaction[TroupeBot]) -> None:
    """Raise `CommandError` unless the user may change what every channel hears.

    Whoever runs the bot may; where it serves a single server, so may who switches there. In a
    direct message everybody may switch, which is not enough for this.
    """
    bot, user = interaction.client, interaction.user
    if interaction.guild_id is not None and len(bot.guilds) == 1 and may_switch(interaction):
        return
    if user.id in bot.behind.config.discord.owners or await bot.is_owner(user):
        return
    raise CommandError(
        "That changes what every channel hears, so it is for whoever runs me: the application's"
        " owner, and discord.owners in the configuration; here, /adapter set chooses a version."
    )


def choices(suggestions: Iterable[Suggestion]) -> list[app_commands.Choice[str]]:
    """An autocomplete list within Discord's bounds."""
    return [
        app_commands.Choice(name=_short(entry.label), value=entry.value)
        for entry in suggestions
        if len(entry.value) <= _CHOICE_LENGTH
    ][:_MOST_CHOICES]


def _short(label: str) -> str:
    return label if len(label) <= _CHOICE_LENGTH else label[: _CHOICE_LENGTH - 1] + "…"
