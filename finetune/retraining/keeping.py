"""Which versions of the retrained adapter stay on the disk.

Kept are the newest `retrain.keep_versions`, and whatever anybody may still mean: the promoted
version, the one on trial, the one that a rollback goes to, those that stood for the name within the
last day, those that a channel, a character, a run under way or the configuration names, and all
younger than a day.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from config import Config
from db.database import Database, DatabaseError
from inference.adapters import SHIPPED_VERSION, AdapterError, AdapterRegistry
from persona_prompts.cast import SHIPPED, Cast

log = logging.getLogger(__name__)

_DAY = 86_400.0
_DELETED = ".deleted-"  # before the number of a version that is being deleted
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]*@\d+")


def delete_old_versions(
    config: Config, name: str, *, say: Callable[[str], None], now: float | None = None
) -> list[str]:
    """Delete the versions of `name` that need not be kept; returns their labels.

    A version goes in one step, so that nobody finds half of one. Where it cannot be seen what is in
    use, or the disk refuses, `say` is told in a sentence and the rest stays.
    """
    try:
        return _delete_old(config, name, say, time.time() if now is None else now)
    except (DatabaseError, OSError) as error:
        say(f"Old versions of {name} are kept for now: {error}")
        return []


def _delete_old(config: Config, name: str, say: Callable[[str], None], now: float) -> list[str]:
    registry = AdapterRegistry(config.adapters_dir)
    _finish_deleting(config.adapters_dir / name)
    old = registry.versions(name)[: -config.retrain.keep_versions]
    if not any(version != SHIPPED_VERSION for version in old):
        return []
    named = asyncio.run(_named(config))
    deleted = []
    for version in old:
        # Asked for each anew, right before it goes: the bot may have rolled back meanwhile.
        kept = _in_use(registry, name, now) | {SHIPPED_VERSION}
        label = f"{name}@{version}"
        if version in kept or label in named or _is_young(registry, name, version, now):
            continue
        _delete(registry.folder_of(name, version))
        deleted.append(label)
        say(f"{label} is old and in nobody's use; it was deleted.")
    return deleted


def _in_use(registry: AdapterRegistry, name: str, now: float) -> set[int | None]:
    """What the name stands for, tries, may go back to, or stood for within a day."""
    canary = registry.canary(name)
    used = {registry.promoted(name), registry.rollback_target(name)}
    if canary is not None:
        used.add(canary.version)
    for change in registry.history(name):
        if abs(now - change.at) < _DAY:
            used |= {change.version, change.previous}
    return used


async def _named(config: Config) -> set[str]:
    """Every label that settings, characters, channels or unfinished runs name."""
    wanted: set[str | None] = {*_in_configuration(config)}
    cast = Cast(SHIPPED, config.paths.personas)
    wanted |= {character.adapter for character in cast.all()}
    if config.database_file.exists():
        patience = config.database.busy_timeout_seconds
        database = await Database.open(config.database_file, busy_timeout_seconds=patience)
        async with database:
            for channel in await database.channels.all():
                wanted.add(channel.adapter)
                wanted |= {member.adapter for member in channel.members}
            for run in await database.runs.all_unfinished():
                wanted |= {run.challenger, run.champion}
    return {label for label in wanted if label}


def _in_configuration(config: Config) -> Iterator[str]:
    """Every text anywhere in the settings that is a version's label."""
    waiting: list[object] = [config.model_dump(mode="json")]
    while waiting:
        match waiting.pop():
            case dict() as table:
                waiting += [*table.keys(), *table.values()]
            case list() as values:
                waiting += values
            case str() as text if _LABEL.fullmatch(text):
                yield text


def _is_young(registry: AdapterRegistry, name: str, version: int, now: float) -> bool:
    """Made within a day, by its card or by its files; a clock that jumped makes nothing old."""
    folder = registry.folder_of(name, version)
    made = [folder.stat().st_mtime]
    try:
        card = registry.resolve_version(name, version).card
        made.append(datetime.fromisoformat(card.created_at).timestamp())
    except (AdapterError, ValueError) as error:
        log.info("%s@%d is as old as its files: %s", name, version, error)
    return now - max(made) < _DAY


def _delete(folder: Path) -> None:
    hidden = folder.with_name(f"{_DELETED}{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _finish_deleting(home: Path) -> None:
    """What a killed process left."""
    for hidden in home.glob(f"{_DELETED}*"):
        shutil.rmtree(hidden)
