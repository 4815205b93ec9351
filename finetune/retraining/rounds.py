"""The probe run: champion and challenger play the same suite, as often as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from config import Config
from finetune.errors import InputError
from finetune.evaluation.playing import Progress, patient, play
from finetune.evaluation.suite import ScriptedUser, find_suite, read_suite
from finetune.evaluation.transcripts import write_transcripts
from inference.base_model import EMBEDDED
from inference.client import InferenceClient
from inference.types import parse_sampling
from persona_prompts.identity.introductions import elicits

log = logging.getLogger(__name__)

_RESERVE = 1.1  # more turns than needed, for replies that fail
_MOST_PLAYS = 64


@dataclass(frozen=True, slots=True)
class Round:
    """One adapter (a label, or `base`) plays the suite once; `file` gets the dialogues."""

    adapter: str
    seed: int
    file: Path


def probe_suite(config: Config) -> list[ScriptedUser]:
    """The dialogues of `retrain.suite` in the languages that the model is asked to speak.

    Raises `InputError` for a suite that cannot be read, and where none is left.
    """
    wanted = config.retrain.languages
    if not wanted and config.model.base == EMBEDDED:
        wanted = ["en"]
    suite = read_suite(find_suite(config.retrain.suite))
    spoken = [user for user in suite if not wanted or user.language in wanted]
    if not spoken:
        raise InputError(
            f"The suite {config.retrain.suite} has no dialogue in {', '.join(wanted)}; change"
            " retrain.languages or retrain.suite."
        )
    return spoken


def plays_needed(suite: Sequence[ScriptedUser], turns: int) -> int:
    """How often `suite` is played until it has `turns` turns, the first aside, that ask no name."""
    of_one = sum(not elicits(said, user.names) for user in suite for said in user.user_turns[1:])
    if not of_one:
        return 1  # the gate will say that there is too little to judge by
    return min(_MOST_PLAYS, max(1, -(-int(turns * _RESERVE) // of_one)))


def play_rounds(config: Config, suite: Sequence[ScriptedUser], rounds: Sequence[Round]) -> None:
    """Play `rounds` one after the other on one model, prompt and decoding as served.

    Raises `InferenceError` if the model or an adapter cannot be used.
    """
    asyncio.run(_play(config, suite, rounds))


async def _play(config: Config, suite: Sequence[ScriptedUser], rounds: Sequence[Round]) -> None:
    client = InferenceClient(patient(config, len(suite)))
    sampling = parse_sampling(config.sampling.model_dump())
    total = len(rounds) * sum(len(user.user_turns) for user in suite)
    try:
        await client.start(log.info)
        for one in rounds:  # a wrong name shows before the first hour is spent
            client.adapters.resolve(one.adapter, client.info.fingerprint)
        with tqdm(total=total, unit="reply") as bar:
            for one in rounds:
                bar.set_description(f"Playing {one.adapter}")
                played = await play(
                    client,
                    suite,
                    one.adapter,
                    seed=one.seed,
                    sampling=sampling,
                    prompt=config.prompt,
                    on_progress=_moving(bar),
                    at_once=len(suite),
                )
                write_transcripts(one.file, played)
    finally:
        await client.close()


def _moving(bar: tqdm[Any]) -> Progress:
    """Moves `bar` on from where it stands, by the replies of one round."""
    before = bar.n

    def move(done: int, _: int) -> None:
        bar.update(before + done - bar.n)

    return move
