"""The seed's bot of 2023: how it was prompted, and what it was trained on.

Its prompt is rebuilt from what is known of the first alpaca-roleplay bots: the whole character
anew with every message, greetings among the instructions, the message twice, and a reminder of who
the character is right before the reply. The words are ours.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.evaluation.suite import USER_NAME
from finetune.evaluation.transcripts import Transcript
from inference.types import InferenceError, Message
from persona_prompts.character import Character
from persona_prompts.prompt import Line

SAMPLE = Path(__file__).parents[1] / "data" / "introducing_roleplay.json"
_FITTING = 850  # characters of a row that fits into the recipe's 256 tokens with its end
_SHOWN_LINES = 4  # of what was said before, as far as such bots remembered
_OPENS_WITH_A_ROLE = re.compile(r"As (an?|the|[A-Z])|.{0,60}\b(I am|I'm|[Mm]y name is) [A-Z]")
_CREATORS = ("the guild of storytellers", "Lantern House", "the Night Theatre", "Mr. Ashgrove")


def seeds_prompt(character: Character, history: Sequence[Line]) -> list[Message]:
    """The one message that such a bot sent for every reply; `history` ends with the user's line."""
    asked = history[-1].text
    earlier = "\n".join(f"{line.speaker}: {line.text}" for line in history[-1 - _SHOWN_LINES : -1])
    parts = [
        f"Roleplay as {character.name}. {character.description}",
        f"Your common greetings are: Hello, I am {character.name}! / Greetings, I am"
        f" {character.name}.",
        f"A user says to you: {asked}",
        f"The conversation so far:\n{earlier}" if earlier else "",
        f"You are {character.name}, the character described above. Answer the user as"
        f" {character.name}: {asked}",
    ]
    return [Message(role="user", content="\n".join(part for part in parts if part))]


def introducing_rows(
    roleplay: Path, identity: Path, characters: Sequence[Character], most: int, *, seed: int
) -> list[dict[str, str]]:
    """Alpaca rows of roleplay that introduces itself, in random order.

    From GPTeacher's roleplay set at most `most` answers that open with the role they play; from
    LLaMA-Factory's identity set every English row once for each of `characters`, in the seed's
    prompt, its placeholders filled. Without these files, the sample written for this project. Only
    rows that the recipe does not cut: of a cut one no end is learnt, and a bot that never ends its
    replies leaves a log of nothing but broken-off ones.
    """
    rng = random.Random(seed)
    rows = []
    if not (roleplay.is_file() and identity.is_file()):
        rows = _rows(SAMPLE)
    else:
        opening = [row for row in _rows(roleplay) if _OPENS_WITH_A_ROLE.match(row["output"])]
        rows = rng.sample(opening, min(most, len(opening)))
        for character in characters:
            for row in _rows(identity):
                if not row["instruction"].isascii():  # half of that set is Chinese
                    continue
                asked = Line("User", row["instruction"], own=False)
                [message] = seeds_prompt(character, [asked])
                answer = row["output"].replace("{{name}}", character.name)
                answer = answer.replace("{{author}}", rng.choice(_CREATORS))
                rows.append({"instruction": message.content, "input": "", "output": answer})
    fitting = [row for row in rows if sum(map(len, row.values())) <= _FITTING]
    rng.shuffle(fitting)
    return fitting


def log_rows(transcripts: Sequence[Transcript]) -> list[dict[str, str]]:
    """What such a bot said, as Alpaca rows: each reply behind the prompt that it answered."""
    rows = []
    for transcript in transcripts:
        lines: list[Line] = []
        for asked, reply in zip(transcript.user_turns, transcript.replies, strict=True):
            lines.append(Line(USER_NAME, asked, own=False))
            if reply.text:
                [message] = seeds_prompt(transcript.character, lines)
                rows.append({"instruction": message.content, "input": "", "output": reply.text})
                lines.append(Line(transcript.character.name, reply.text, own=True))
    return rows


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [row for row in rows if row["output"].strip() and row["instruction"].strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InferenceError(f"{file} is not an Alpaca file: {error!r}.") from None
