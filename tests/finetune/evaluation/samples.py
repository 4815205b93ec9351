"""Scripts and transcripts that several tests use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Reply, Transcript

ROW: dict[str, Any] = {
    "id": "smuggler",
    "name": "Captain Mirela Vex",
    "aliases": ["Mirela"],
    "persona": "{{char}} sells bottled storms. She lost a silver tooth in a card game.",
    "user_turns": ["What do you sell?", "Who are you?", "And the tooth?"],
}


def row(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


def script(**changes: Any) -> ScriptedUser:
    return ScriptedUser.model_validate(row(**changes))


def transcript(*replies: str, adapter: str = "base", **changes: Any) -> Transcript:
    turns = [f"Well, {at}?" for at in range(len(replies))]
    user = script(**{"user_turns": turns, **changes})
    return Transcript(user, adapter, tuple(Reply(text, "stop") for text in replies))


def write(file: Path, *rows: Any) -> Path:
    file.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return file
