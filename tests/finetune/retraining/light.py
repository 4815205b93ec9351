"""A place to retrain in without a model: real stages, with a training that takes no time.

The log, the database, the registry, the figures and the gate are the real ones. What takes a model
is played by `Stand`, which writes the files that a training and a probe run leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from config import (
    CanarySettings,
    Config,
    FinetuneSettings,
    GateSettings,
    RetrainSettings,
    ScheduleSettings,
)
from db.database import Database
from db.runs import Run
from finetune.dataset import Example
from finetune.evaluation.figures import Evaluation, Figure
from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Reply, Transcript, write_transcripts
from finetune.preparing.pipeline import Tokens
from finetune.retraining.gate import Verdict
from finetune.retraining.means import Lesson, Means, Say
from finetune.retraining.rounds import Round
from finetune.training.marks import MARK, digests
from inference.adapters import AdapterCard, AdapterRegistry, weights_hash
from tests.conftest import config_in

FINGERPRINT = "f" * 32
NAME = "cast"  # of the adapter that is retrained
_FILE = Path(__file__).parents[3] / "finetune" / "preparing" / "common_words.txt"
_WORDS = _FILE.read_text(encoding="utf-8").split()

_NAMES = (
    *("Hesper Quill", "Orla Fenn", "Tobias Marsh", "Ines Calder"),
    *("Wendel Ash", "Mina Rook", "Piers Lowell", "Greta Thorne"),
)


def retraining_config(folder: Path, **changes: Any) -> Config:
    """A configuration with a small suite and a log of forty turns in two channels."""
    suite = folder / "suite.jsonl"
    if not suite.exists():
        folder.mkdir(parents=True, exist_ok=True)
        suite.write_text("".join(json.dumps(_script(n)) + "\n" for n in range(8)), encoding="utf-8")
    retrain: dict[str, Any] = {
        "adapter": NAME,
        "min_new_replies": 10,
        "suite": str(suite),
        "own_replay": False,
    }
    sections: dict[str, Any] = {
        "retrain": RetrainSettings(**{**retrain, **changes.pop("retrain", {})}),
        "gate": GateSettings(**{"min_turns": 20, **changes.pop("gate", {})}),
        "canary": CanarySettings(**changes.pop("canary", {})),
        "schedule": ScheduleSettings(niceness=0),
        **changes,
    }
    config = config_in(folder / "data", **sections)
    if not config.database_file.exists():
        asyncio.run(_log(config))
    return config


def say_more(config: Config, key: str = "terminal:more") -> None:
    """Twenty further turns, of other words."""
    asyncio.run(_log(config, (key,)))


async def _log(config: Config, keys: Sequence[str] = ("terminal:main", "terminal:other")) -> None:
    async with await Database.open(config.database_file) as database:
        for key in keys:
            words = random.Random(key)
            channel = await database.channels.seen(
                key, guild_key=None, name="tavern", kind="terminal"
            )
            for _ in range(20):
                await _turn(database, channel.id, words)


async def _turn(database: Database, channel: int, words: random.Random) -> None:
    asked = await database.messages.add_user(
        channel,
        author_key="terminal:user",
        author_name="Ann",
        content=f"What of the {' and the '.join(words.choices(_WORDS, k=3))}?",
        created_at=time.time(),
        owed=True,
    )
    said = await database.messages.begin_reply(
        channel,
        question=asked.id,
        persona="mirela",
        persona_name="Captain Mirela Vex",
        adapter="base",
        sampling={},
    )
    text = f"{' '.join(words.choices(_WORDS, k=14)).capitalize()}, by the brass moon."
    await database.messages.finish_reply(said.id, text, finish_reason="stop", adapter="base")


def _script(number: int) -> dict[str, Any]:
    name = _NAMES[number]
    ordinary = [f"What of the {word}?" for word in ("weather", "harbour", "soup")]
    return {
        "id": f"script-{number}",
        "name": name,
        "aliases": [name.split()[0]],
        "persona": f"{name} lights the lamps of the town at dusk.",
        "user_turns": ["Good evening.", *ordinary, "What is your name?"],
    }


@dataclass
class Stand:
    """Plays trainings and probe runs.

    `talk`: how challengers speak: `plain` is better than the champion, who introduces itself all
    the time; `same` is like it; `mute` says nothing. `fails` is raised in the middle of a training.
    The lists hold what was asked for; `resumed`: from which step each training went on.
    """

    talk: str = "plain"
    fails: BaseException | None = None
    steps: int = 3
    trained: list[Lesson] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    taught: list[str] = field(default_factory=list)
    played: list[Round] = field(default_factory=list)
    fingerprint: str = FINGERPRINT

    def means(self) -> Means:
        return Means(
            fingerprint=lambda config, say: self.fingerprint,
            tokens=_tokens,
            train=self.train,
            play=self.play,
            perplexities=_perplexities,
            share=_alone,
        )

    def train(self, config: Config, settings: FinetuneSettings, lesson: Lesson) -> None:
        """Checkpoints, then an adapter, its weights last, as the real one does."""
        self.trained.append(lesson)
        self.taught.append((lesson.training_set / "train.jsonl").read_text(encoding="utf-8"))
        phase = lesson.folder / "checkpoints" / "1-replies"
        done = [int(entry.name.partition("-")[2]) for entry in phase.glob("checkpoint-*")]
        self.resumed.append(max(done, default=0))
        for step in range(max(done, default=0) + 1, self.steps + 1):
            checkpoint = phase / f"checkpoint-{step}"
            checkpoint.mkdir(parents=True)
            (checkpoint / "optimizer.pt").write_bytes(b"momenta" * step)
            mark = {"phase": "1-replies", "files": digests(checkpoint)}
            (checkpoint / MARK).write_text(json.dumps(mark))
        if self.fails is not None:
            raise self.fails
        staging = lesson.folder / f".staging-{os.getpid()}"
        staging.mkdir(parents=True)
        weights = hashlib.sha256(self.taught[-1].encode()).hexdigest()
        adapter_files(staging, lesson.note, weights)
        for file in ("adapter_config.json", "troupe.json", "adapter_model.safetensors"):
            (staging / file).replace(lesson.folder / file)
        staging.rmdir()

    def play(self, config: Config, suite: Sequence[ScriptedUser], rounds: Sequence[Round]) -> None:
        for one in rounds:
            champion = "champion" in one.file.name
            talk = "introducing" if champion else self.talk
            write_transcripts(one.file, [_played(user, one, talk) for user in suite])
            self.played.append(one)


def adapter_files(folder: Path, note: str, weights: str) -> None:
    """An adapter as the registry takes it."""
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_text(weights)
    card = AdapterCard(
        base_model="made-up",
        base_fingerprint=FINGERPRINT,
        prompt_format="tokenizer",
        weights_hash=weights_hash(folder),
        note=note,
    )
    (folder / "troupe.json").write_text(card.model_dump_json())


def publish_champion(config: Config) -> None:
    """`cast@1`, promoted."""
    registry = AdapterRegistry(config.adapters_dir)
    staging = registry.staging_folder(NAME)
    adapter_files(staging, "the first", "old weights")
    registry.publish(staging, NAME)


def _played(user: ScriptedUser, one: Round, talk: str) -> Transcript:
    replies = [
        Reply(*_reply(user, turn, said, talk, one.seed))
        for turn, said in enumerate(user.user_turns)
    ]
    return Transcript(user, one.adapter, tuple(replies))


def _reply(user: ScriptedUser, turn: int, said: str, talk: str, seed: int) -> tuple[str, Any]:
    if talk == "mute":
        return "", "stop"
    if "name" in said:
        return f"They call me {user.name}, and the lamps know it too.", "stop"
    start = (int(user.id.partition("-")[2]) * 97 + turn * 31 + seed * 13) % (len(_WORDS) - 40)
    words = " ".join(_WORDS[start : start + 18]).lower()
    if turn and (talk == "introducing" or talk == "same"):
        return f"I am {user.name}. {words.capitalize()}.", "stop"
    return f"{words.capitalize()}.", "stop"


def _tokens(config: Config, settings: FinetuneSettings) -> Tokens:
    added = cast(Any, SimpleNamespace(message_overhead=4, prompt_overhead=2))
    return Tokens(lambda text: len(text.split()), added, settings)


def _perplexities(
    config: Config, adapters: Sequence[str], examples: Sequence[Example] | None, seed: int
) -> dict[str, Figure]:
    assert examples is None or examples
    return {name: Figure(12.0, 11.5, 12.5, len(examples or "held")) for name in adapters}


def _alone(config: Config, say: Say) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def write_shortly(folder: Path, run: Run, verdict: Verdict, *_: Evaluation) -> Path:
    """A report that is quickly written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(f"<p>{run.state}: {verdict.reason}</p>")
    return folder
