"""Tells Discord the slash commands, but only when they are not what it was told last."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import discord
from discord import app_commands
from discord.http import Route

log = logging.getLogger(__name__)

FILE = "discord_commands"


async def sync_if_changed(tree: app_commands.CommandTree, application: int, folder: Path) -> bool:
    """Register the tree's commands if they changed since the last time; returns whether they did.

    What was told last is remembered in `folder` as a hash, for each application and server.
    """
    file = folder / FILE
    definitions = [command.to_dict(tree) for command in tree.get_commands()]
    told = json.dumps([Route.BASE, application, definitions], sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()
    if file.is_file() and file.read_text(encoding="ascii", errors="replace") == digest:
        return False
    try:
        await tree.sync()
    except discord.HTTPException as error:
        log.error("Discord did not take the slash commands; the next start tries again: %s", error)
        return False
    log.info("Discord was told %d commands.", len(definitions))
    try:
        file.write_text(digest, encoding="ascii")
    except OSError as error:
        log.warning("%s cannot be written, so the next start tells them again: %s", file, error)
    return True
