"""The rows of the table: which adapter, behind which prompt, decoded how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.identity.seeds_bot import seeds_prompt
from config import Config, PromptFormatName, PromptSettings
from finetune.evaluation.figures import evaluate
from finetune.evaluation.playing import patient, play
from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Transcript, read_transcripts, write_transcripts
from inference.client import InferenceClient
from inference.types import Sampling

ROWS_AT_ONCE = 16
_SEEDS_TOKENS = 128  # what alpaca-lora's generate.py allows a reply
TRANSCRIPTS = "transcripts.jsonl"


@dataclass(frozen=True, slots=True)
class Condition:
    """One row. `prompt` "seed": the seed's bot's own; an adapter keeps the format it learnt."""

    label: str
    adapter: str
    prompt: Literal["seed", "ours"] = "ours"
    dry: bool = True
    prompt_format: PromptFormatName = "auto"

    @property
    def key(self) -> str:
        return f"{self.adapter}-{self.prompt}{'-dry' if self.dry else ''}"


def played(
    config: Config, condition: Condition, suite: Sequence[ScriptedUser], *, seed: int
) -> list[Transcript]:
    """The dialogues of `suite` under `condition`; `config` names the folder of the adapters."""
    served = _served(config, condition)
    return asyncio.run(_played(served, condition, suite, seed))


async def _played(
    config: Config, condition: Condition, suite: Sequence[ScriptedUser], seed: int
) -> list[Transcript]:
    client = InferenceClient(patient(config, len(suite)))
    await client.start()
    try:
        return await play(
            client,
            suite,
            condition.adapter,
            seed=seed,
            sampling=Sampling.model_validate(config.sampling.model_dump()),
            prompt=PromptSettings(),
            write_prompt=seeds_prompt if condition.prompt == "seed" else None,
        )
    finally:
        await client.close()


def _served(config: Config, condition: Condition) -> Config:
    """The configuration under which a condition is served: the bot's own, or the seed's."""
    sampling = config.sampling
    if not condition.dry:
        sampling = sampling.model_copy(update={"dry_multiplier": 0.0, "repetition_penalty": 1.0})
    if condition.prompt == "seed":
        sampling = sampling.model_copy(update={"max_new_tokens": _SEEDS_TOKENS})
    model = config.model.model_copy(update={"prompt_format": condition.prompt_format})
    inference = config.inference.model_copy(update={"rows": ROWS_AT_ONCE})
    return config.model_copy(update={"sampling": sampling, "model": model, "inference": inference})


def measured(folder: Path, label: str, parts: dict[str, set[str]]) -> dict[str, Any]:
    """The figures of the transcripts in `folder`: of all, and of each part (ids) by itself."""
    transcripts = read_transcripts(folder / TRANSCRIPTS)
    chosen = {"all": transcripts} | {
        part: [t for t in transcripts if t.user.id in ids] for part, ids in parts.items()
    }
    found: dict[str, Any] = {}
    for part, some in chosen.items():
        evaluation = evaluate(label, some)
        found[part] = {name: figure.as_json() for name, figure in evaluation.figures.items()}
        found[part]["failed"] = evaluation.failed
        found[part]["iir_by_turn"] = {
            str(turn): figure.as_json() for turn, figure in evaluation.iir_by_turn.items()
        }
    return found


def save(folder: Path, transcripts: Sequence[Transcript]) -> None:
    """Keep what was said."""
    write_transcripts(folder / TRANSCRIPTS, transcripts)


def write_suite(file: Path, users: Sequence[ScriptedUser]) -> None:
    """Rows as `finetune evaluate --suite` reads them."""
    rows = (json.dumps(user.model_dump(mode="json"), ensure_ascii=False) for user in users)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
