"""Simulated logs: what scripted users and a bot said, as the bot's own database would hold it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from db.database import Database
from finetune.evaluation.transcripts import Transcript
from persona_prompts.character import Character

_START = 1_790_000_000.0  # Unix seconds; a fixed time makes a run repeatable
_SECONDS_PER_LINE = 20.0
_DAY = 86_400.0


async def write_logs(
    database_file: Path,
    personas: Path,
    transcripts: Sequence[Transcript],
    adapter: str,
    *,
    day: int = 0,
) -> int:
    """Store `transcripts` as the bot does, one terminal channel each; returns the replies stored.

    All are of one `day`, counted from an arbitrary one. The characters go into the folder
    `personas` as cards, where `prepare` looks for them.
    """
    for transcript in transcripts:
        write_card(personas, transcript.character)
    stored = 0
    async with await Database.open(database_file) as database:
        for transcript in transcripts:
            character = transcript.character
            channel = await database.channels.seen(
                f"terminal:{character.id}", guild_key=None, name=character.id, kind="terminal"
            )
            await database.channels.set(channel.id, persona=character.id, adapter=adapter)
            now = _START + day * _DAY
            for asked, reply in zip(transcript.user_turns, transcript.replies, strict=True):
                now += _SECONDS_PER_LINE
                question = await database.messages.add_user(
                    channel.id,
                    author_key=f"user:{character.id}",
                    author_name="Robin",
                    content=asked,
                    created_at=now,
                    owed=True,
                )
                record = await database.messages.begin_reply(
                    channel.id,
                    question=question.id,
                    persona=character.id,
                    persona_name=character.name,
                    adapter=adapter,
                    sampling={},
                )
                await database.messages.finish_reply(
                    record.id, reply.text, finish_reason=reply.finish_reason, adapter=adapter
                )
                stored += 1
    return stored


def write_card(folder: Path, character: Character) -> None:
    """`character` as a V2 card in `folder`."""
    data = {
        "name": character.name,
        "description": character.description,
        "first_mes": character.greeting,
        "extensions": {"troupe": {"aliases": list(character.aliases)}},
    }
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{character.id}.json"
    file.write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
