"""The one place where a failure in Discord becomes a sentence for the user and a log line."""

from __future__ import annotations

import logging

import aiohttp
import discord
from discord import app_commands

from bot.delivery import NOTICE
from bot.errors import UNEXPECTED, sentence_for
from bot.splitting import split

log = logging.getLogger(__name__)

_EXPIRED = (10062, 40060)  # unknown interaction; already acknowledged


class ErrorHandler:
    """Told of every exception that no command or listener dealt with itself."""

    async def command(self, interaction: discord.Interaction, error: Exception) -> None:
        """Tell the user of a slash command, and nobody else, what went wrong."""
        cause = _cause(error)
        name = interaction.command.qualified_name if interaction.command is not None else "button"
        if isinstance(cause, discord.NotFound) and cause.code in _EXPIRED:
            log.warning("/%s was answered too late for Discord.", name)
            return
        # A sentence may quote what was typed, which may be longer than a message.
        sentence = (split(self._sentence(f"/{name}", cause)) or [UNEXPECTED])[0]
        try:
            if interaction.response.is_done():
                await interaction.followup.send(sentence, ephemeral=True)
            else:
                await interaction.response.send_message(sentence, ephemeral=True)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as failure:
            log.warning("The user of /%s could not be told: %s", name, failure)

    async def message(self, message: discord.Message, error: Exception, *, tell: bool) -> None:
        """A message that could not be heard; its author is told if it was said to the bot."""
        sentence = self._sentence(f"message {message.id}", error)
        if not tell:
            return
        try:
            await message.channel.send(
                f"{NOTICE}{sentence}", reference=message.to_reference(fail_if_not_exists=False)
            )
        except (discord.HTTPException, aiohttp.ClientError, OSError) as failure:
            log.warning("The author of message %d could not be told: %s", message.id, failure)

    def event(self, name: str) -> None:
        """Log the exception being handled, which an event's listener raised."""
        log.exception("The event %s could not be handled.", name)

    def _sentence(self, what: str, error: BaseException) -> str:
        """The sentence for the user; the operator reads the whole story."""
        known = sentence_for(error)
        if known is not None:
            log.info("%s: %s", what, known)
            return known
        if isinstance(error, discord.Forbidden):
            log.warning("%s: Discord refused: %s", what, error)
            return "I am not allowed to do that here; check my permissions in this channel."
        log.error("%s failed.", what, exc_info=error)
        return UNEXPECTED


def _cause(error: Exception) -> BaseException:
    """What really happened, out of discord.py's wrapping."""
    if isinstance(error, app_commands.CommandInvokeError):
        return error.original
    return error
