"""The slash commands and the listener: thin covers over `bot.commands` and `bot.turn`."""
