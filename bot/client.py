"""The Discord front end: the client, and its life from log-in to shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.ext import commands

from bot.catch_up import CatchUp
from bot.cogs.adapters import Adapters
from bot.cogs.blocking import Blocking, admitted
from bot.cogs.cast import Cast
from bot.cogs.characters import Characters
from bot.cogs.listener import Listener
from bot.cogs.memory import Memory
from bot.cogs.privacy import Privacy
from bot.cogs.replies import Replies
from bot.cogs.retraining import Retraining
from bot.cogs.settings import ChannelSettings
from bot.cogs.status import Status
from bot.command_sync import sync_if_changed
from bot.delivery import DiscordStage
from bot.error_handler import ErrorHandler
from bot.hearing import Hearing
from bot.metrics_server import figures_shown
from bot.operators import OperatorsChannel
from bot.presence import show_rehearsal
from bot.reply_buttons import ReplyButton
from bot.startup import Company, StartupError, Unavailable, company
from config import Config, DiscordSettings

log = logging.getLogger(__name__)

_COGS = (
    Listener, Characters, Cast, Adapters, Retraining, ChannelSettings, Status, Privacy, Memory,
)  # fmt: skip
_PORTAL = "https://discord.com/developers/applications"
_NO_INTENTS = (
    "Discord does not give this bot the texts of messages; switch on Message Content Intent under"
    f" Bot on {_PORTAL} and start again."
)


class _Tree(app_commands.CommandTree["TroupeBot"]):
    async def interaction_check(self, interaction: discord.Interaction[TroupeBot], /) -> bool:
        return await admitted(interaction)

    async def on_error(
        self, interaction: discord.Interaction[TroupeBot], error: app_commands.AppCommandError, /
    ) -> None:
        await interaction.client.error_handler.command(interaction, error)


class TroupeBot(commands.AutoShardedBot):
    """The client. Whatever it hears goes to the turn, whatever it shows comes through the stage."""

    def __init__(self, behind: Company, stage: DiscordStage) -> None:
        # It never speaks aloud, so nobody needs to hear of the libraries for that.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        intents.message_content = True
        intents.guild_reactions = intents.dm_reactions = True
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            tree_cls=_Tree,
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True),
            allowed_installs=app_commands.AppInstallationType(guild=True),
            # The memory is the database; discord.py need not keep a second one.
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
        )
        self.behind = behind
        self.error_handler = ErrorHandler()
        self.hearing = Hearing(self)
        self.catch_up = CatchUp(behind, self, self.hearing)
        self._operators = OperatorsChannel(behind.config, behind.database, self)
        self.stage = stage
        self._replies = Replies(self)
        stage.attach(self, behind.casting.cast, behind.database)

    async def setup_hook(self) -> None:
        for cog in _COGS:
            await self.add_cog(cog(self))
        await self.add_cog(Blocking(self))
        await self.add_cog(self._replies)
        self.add_dynamic_items(ReplyButton)
        self.behind.rehearsing.on_change(partial(show_rehearsal, self))
        assert self.application_id is not None  # known since the log-in
        await sync_if_changed(self.tree, self.application_id, self.behind.config.paths.data)
        self._operators.start()

    async def on_message(self, message: discord.Message) -> None:
        """Nothing: there are no prefix commands, and the listener hears the rest."""

    async def on_shard_connect(self, shard_id: int) -> None:
        """A new session, not a resumed one: Discord will not repeat what was missed."""
        log.info("Shard %d is connected.", shard_id)
        self.catch_up.begin(shard_id)

    async def pressed(
        self, interaction: discord.Interaction[TroupeBot], action: str, reply_id: int
    ) -> None:
        """Somebody pressed a button under a reply."""
        await self._replies.pressed(interaction, action, reply_id)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        self.error_handler.event(event_method)

    async def close(self) -> None:
        await self.catch_up.close()
        await self._operators.close()
        await super().close()


def run_discord(config: Config, token: str) -> int:
    """Run the bot until it is told to stop; returns the exit code. Raises `StartupError`."""
    return asyncio.run(_run(config, token))


async def _run(config: Config, token: str) -> int:
    check(config.discord, token)
    point_at(config.discord)
    stage = DiscordStage(config)
    async with (
        _told_to_stop() as stop,
        company(config, stage) as behind,
        figures_shown(behind),
    ):
        await serve(behind, stage, token, stop)
    return 0


async def serve(behind: Company, stage: DiscordStage, token: str, stop: asyncio.Event) -> None:
    """Log in, load the model beside the connection, and serve until `stop` is set.

    Raises `StartupError` if the token, the intents or the model cannot be used.
    """
    async with TroupeBot(behind, stage) as bot:
        await _log_in(bot, token)
        connection = asyncio.create_task(bot.connect(), name="connection")
        loading = asyncio.create_task(behind.load_model(log.info), name="loading")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        pending: set[asyncio.Task[Any]] = {connection, loading, stopping}
        try:
            while connection in pending and stopping in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except discord.PrivilegedIntentsRequired:
            raise StartupError(_NO_INTENTS) from None
        except (discord.ConnectionClosed, discord.GatewayNotFound) as error:
            raise Unavailable(f"Discord closed the connection for good: {error}.") from None
        finally:
            # The turns end first: a reply that loses its client would count as failed.
            await behind.turns.close()
            for task in pending:
                task.cancel()
            await bot.close()
            await asyncio.gather(*pending, return_exceptions=True)


async def _log_in(bot: TroupeBot, token: str) -> None:
    where = discord.http.Route.BASE
    try:
        await bot.login(token)
    except discord.LoginFailure:
        raise StartupError(
            f"Discord does not accept the token; copy a new one from Bot on {_PORTAL} into"
            " DISCORD_TOKEN."
        ) from None
    except discord.HTTPException as error:
        raise Unavailable(f"Discord refused the log-in at {where}: {error}.") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"Discord cannot be reached at {where}: {error}.") from None
    flags = bot.application_flags
    if not (flags.gateway_message_content or flags.gateway_message_content_limited):
        raise StartupError(_NO_INTENTS)
    log.info("Logged in as %s (application %s).", bot.user, bot.application_id)


def check(settings: DiscordSettings, token: str) -> None:
    """Raise `StartupError` for settings that Discord could not do anything with."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise StartupError(
            "DISCORD_TOKEN is not a token: it holds characters that no token has; copy it again."
        )
    if settings.switch_permission not in discord.Permissions.VALID_FLAGS:
        raise StartupError(
            f"discord.switch_permission = {settings.switch_permission!r} is no permission of"
            " Discord; use one such as manage_channels or manage_guild."
        )
    schemes = {"api_url": ("http", "https"), "gateway_url": ("ws", "wss")}
    for name, allowed in schemes.items():
        address = getattr(settings, name)
        if address and (yarl.URL(address).scheme not in allowed or not yarl.URL(address).host):
            raise StartupError(
                f"discord.{name} = {address!r} is not an address; it must begin with"
                f" {allowed[0]}:// or {allowed[1]}://."
            )


def point_at(settings: DiscordSettings) -> None:
    """Let discord.py talk to another server than Discord's own, where one is configured."""
    if settings.api_url:
        discord.http.Route.BASE = settings.api_url.rstrip("/")
    if settings.gateway_url:
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway_url)


@asynccontextmanager
async def _told_to_stop() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def told() -> None:
        log.info("Stopping; what is not answered yet will be after the next start.")
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
