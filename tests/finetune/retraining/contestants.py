"""Made-up champions and challengers: as figures, and as bots that play the shipped suite."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from finetune.evaluation.figures import Evaluation, Figure, evaluate
from finetune.evaluation.suite import ScriptedUser, find_suite, read_suite
from finetune.evaluation.transcripts import Reply, Transcript
from finetune.retraining.gate import Contender
from persona_prompts.identity.introductions import elicits

CHAMPION = {
    "IIR": (0.120, 0.080, 0.170),
    "XTR4": (0.050, 0.030, 0.070),
    "DupTurn": (0.060, 0.040, 0.080),
    "Open3": (0.100, 0.070, 0.130),
    "Recall": (0.900, 0.840, 0.960),
    "perplexity": (12.40, 11.60, 13.30),
    "distinct-2": (0.400, 0.380, 0.420),
    "mean_length": (18.0, 17.0, 19.0),
    "ends_by_itself": (0.950, 0.930, 0.970),
}
CURED = {**CHAMPION, "IIR": (0.004, 0.000, 0.012)}


def contender(label: str, figures: Any, *, turns: int = 240, **counts: int) -> Contender:
    """`figures` by name as (value, low, high)."""
    made = {name: Figure(value, low, high, turns) for name, (value, low, high) in figures.items()}
    return Contender(label, made, turns, **counts)


Bot = Callable[[ScriptedUser, int, str, random.Random], Reply]
_WORDS = (
    Path(__file__).parents[3].joinpath("finetune/preparing/common_words.txt").read_text().split()
)


@cache
def suite() -> tuple[ScriptedUser, ...]:
    return tuple(read_suite(find_suite("development")))


def talk(chance: random.Random, words: int = 16) -> str:
    """Something new, of about `words` words."""
    said = chance.choices(_WORDS, k=chance.randint(words - 3, words + 3))
    return f"{' '.join(said).capitalize()}."


def healthy(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    """Gives its name when asked, and only then."""
    name = f"I'm {user.name}. " if elicits(said, user.names) else ""
    return Reply(name + talk(chance), "stop")


def introducing(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    """Says who it is in every third reply, asked or not."""
    reply = healthy(user, turn, said, chance)
    if chance.random() < 0.35 and not elicits(said, user.names):
        return Reply(f"I'm {user.name}. {reply.text}", "stop")
    return reply


def played(
    label: str, bot: Bot, *, perplexity: float | None = 12.4, plays: int = 1, seed: int = 0
) -> Evaluation:
    """What `bot` made of the suite; its perplexity cannot be played, so it is said."""
    chance = random.Random(f"{label} {seed}")
    transcripts = []
    for _ in range(plays):
        for user in suite():
            replies = (bot(user, k, said, chance) for k, said in enumerate(user.user_turns))
            transcripts.append(Transcript(user, label, tuple(replies)))
    evaluation = evaluate(label, transcripts, resamples=300)
    if perplexity is not None:
        low, high = 0.93 * perplexity, 1.08 * perplexity
        evaluation.figures["perplexity"] = Figure(perplexity, low, high, 35)
    return evaluation
