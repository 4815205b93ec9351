"""A channel's log as a training set, in memory: what `train --channel` learns from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from config import Config, PrepareSettings
from finetune.preparing.journal import Journal, size_of
from finetune.preparing.pipeline import Tokens, prepare
from finetune.preparing.pseudonyms import Pseudonyms, pseudonym_key
from finetune.sources.channel_log import ChannelLog, read_channels
from finetune.training_set import TrainingSet
from persona_prompts.cast import SHIPPED, Cast


def read_log(
    config: Config, keys: Sequence[str] | None = None, *, since: float | None = None
) -> ChannelLog:
    """The logs of `keys`, or of every channel that agreed; as `channel_log.read_channels`."""
    cast = Cast(SHIPPED, config.paths.personas)
    return asyncio.run(read_channels(config, cast, keys, since=since))


def prepare_channel(
    config: Config,
    key: str,
    tokens: Tokens,
    *,
    settings: PrepareSettings | None = None,
    seed: int = 0,
) -> TrainingSet:
    """What can be learnt from the channel `key`, prepared as `finetune prepare` does.

    `settings` are those of the configuration where none are given. Raises `InputError` if the
    channel does not exist, has not agreed, or leaves nothing to learn from.
    """
    return prepare_log(config, read_log(config, [key]), tokens, settings=settings, seed=seed)


def prepare_log(
    config: Config,
    log: ChannelLog,
    tokens: Tokens,
    *,
    settings: PrepareSettings | None = None,
    seed: int = 0,
) -> TrainingSet:
    """As `prepare_channel`, of what was read already."""
    return prepare(
        log.dialogues,
        settings or config.prepare,
        tokens,
        pseudonyms=Pseudonyms(pseudonym_key(config.paths.data)),
        journal=reading(log),
        origin=origin("database", log.keys, refused=len(log.refused)),
        seed=seed,
    )


def reading(log: ChannelLog) -> Journal:
    """A journal that begins with what was read and what consent withheld."""
    journal = Journal()
    size = size_of(log.dialogues)
    counts = {
        "channels": len(log.keys),
        "channels that have not agreed": len(log.refused),
        "messages withheld": log.withheld,
    }
    # What nobody agreed to is not even counted by its replies.
    journal.record("read", size, size, counts)
    return journal


def origin(kind: str, sources: Sequence[str], **more: Any) -> dict[str, Any]:
    """The beginning of a report: from what, and when, a set was made."""
    made = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
    return {"made": made, "kind": kind, "sources": list(sources), **more}
