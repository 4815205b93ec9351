"""Run by test_other_process.py: a bot that repeats what it hears."""

from __future__ import annotations

import sys

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route


class EchoBot(discord.AutoShardedClient):
    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            await message.channel.send(message.content)


def main() -> None:
    api_url, gateway_url, token = sys.argv[1:]
    Route.BASE = api_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    EchoBot(intents=discord.Intents.all()).run(token, log_handler=None)


if __name__ == "__main__":
    main()
