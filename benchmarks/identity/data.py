"""What the experiment reads: scripted users to measure with, and dialogue to learn from.

`python -m benchmarks.identity.data spc_valid.csv replay.jsonl` writes the public dialogues that the
recommended recipe learns from, as `finetune prepare --replay` takes them.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.identity.persona_chat import PersonaChat, messages_of, read_persona_chats
from finetune.evaluation.suite import SUITES, USER_NAME, ScriptedUser, read_suite

SIMULATED = Path(__file__).parents[1] / "data" / "simulated_users.jsonl"
OWN_DIALOGUE = SUITES.parent / "replay"  # written for this project
_TURNS, _ASKED_AT = 6, 3
MEASURED, SEED = 100, 1  # dialogues to measure with; for their choice and the names
LEARNT = 250  # public dialogues, of the 743 that are left
# None of them is among the phrases that are trained on (preparing/name_drills.toml).
_ASKING = (
    "hang on, what do people call you?",
    "sorry, your name slipped my mind",
    "who did you say I'm talking with?",
    "I don't think I caught your name.",
    "what was that name of yours again?",
    "so who are you exactly?",
)


def test_users() -> list[ScriptedUser]:
    """The test half of the shipped suite."""
    return read_suite(SUITES / "test.jsonl")


def persona_chats(
    file: Path, count: int, *, seed: int
) -> tuple[list[PersonaChat], list[PersonaChat]]:
    """(dialogues to measure with, dialogues to learn from): `count` long ones, and the rest."""
    chats = read_persona_chats(file, seed=seed)
    order = random.Random(seed).sample(range(len(chats)), len(chats))
    kept = [at for at in order if len(chats[at].turns) >= _TURNS][:count]
    chosen = set(kept)
    return [chats[at] for at in kept], [chats[at] for at in order if at not in chosen][:LEARNT]


def scripted(chat: PersonaChat, rng: random.Random) -> ScriptedUser:
    """The dialogue's user lines as a script, its fourth one a question for the name."""
    turns = [user for user, _ in chat.turns[:_TURNS]]
    turns[_ASKED_AT] = rng.choice(_ASKING)
    character = chat.character
    return ScriptedUser(
        id=character.id, name=character.name, persona=character.description, user_turns=turns
    )


def hash_of(users: Sequence[ScriptedUser]) -> str:
    """What the scripts say, as a short text."""
    rows = json.dumps([user.model_dump(mode="json") for user in users], ensure_ascii=False)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def held_out_rows(chats: Sequence[PersonaChat]) -> list[dict[str, Any]]:
    """The dialogues as they were, to compute perplexity on."""
    return [{"messages": messages_of(chat, USER_NAME)} for chat in chats]


def replay_rows(chats: Sequence[PersonaChat]) -> list[dict[str, Any]]:
    """The dialogues to learn from, as `prepare --replay` reads them."""
    return [
        {"name": chat.character.name, "messages": messages_of(chat, USER_NAME)} for chat in chats
    ]


def own_rows() -> list[dict[str, Any]]:
    """The dialogues that are shipped to learn from."""
    return [
        json.loads(line)
        for file in sorted(OWN_DIALOGUE.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """JSONL."""
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def main() -> None:
    """Write the public dialogues to learn from."""
    source, target = map(Path, sys.argv[1:])
    _, learning = persona_chats(source, MEASURED, seed=SEED)
    write_rows(target, replay_rows(learning))


if __name__ == "__main__":
    main()
