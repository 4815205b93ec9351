"""From what the command was asked to the figures of every adapter."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from config import Config
from finetune.dataset import Example
from finetune.errors import TrainingError
from finetune.evaluation.figures import Evaluation, evaluate
from finetune.evaluation.live import read_live
from finetune.evaluation.playing import patient, play
from finetune.evaluation.relevance import similarity
from finetune.evaluation.suite import ScriptedUser, find_suite, read_suite
from finetune.evaluation.transcripts import Transcript, read_transcripts, write_transcripts
from inference.adapters import DEFAULT
from inference.client import InferenceClient
from inference.types import parse_sampling
from persona_prompts.cast import SHIPPED as SHIPPED_CAST
from persona_prompts.cast import Cast

log = logging.getLogger(__name__)

DEFAULT_SUITE = "development"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be measured.

    `transcripts` or `live` (with `channel`, `days`) instead of a `suite` to be played through
    `adapters`, which for transcripts name the rows that do not say whose they are; none: `default`.
    `held_out` is for perplexity, None where it is not wanted. `save_to` gets the dialogues as soon
    as they are there.
    """

    suite: str = DEFAULT_SUITE
    adapters: tuple[str, ...] = ()
    transcripts: Path | None = None
    live: bool = False
    channel: str | None = None
    days: int | None = None
    held_out: Path | None = None
    save_to: Path | None = None
    seed: int = 0

    @property
    def to_play(self) -> tuple[str, ...]:
        return self.adapters or (DEFAULT,)


@dataclass(frozen=True, slots=True)
class Result:
    """The evaluations in the order of the adapters; `notes` say how they came about."""

    evaluations: list[Evaluation]
    transcripts: list[Transcript]
    title: str
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(evaluation.failed for evaluation in self.evaluations)

    def as_json(self) -> dict[str, Any]:
        """`adapters` as issue 4 has it; beside it what belongs to no single measure."""
        return {
            "adapters": {
                evaluation.adapter: {
                    name: figure.as_json() for name, figure in evaluation.figures.items()
                }
                for evaluation in self.evaluations
            },
            "iir_by_turn": {
                evaluation.adapter: {
                    str(k): figure.as_json() for k, figure in evaluation.iir_by_turn.items()
                }
                for evaluation in self.evaluations
            },
            "dialogues": {each.adapter: each.dialogues for each in self.evaluations},
            "failed_replies": {each.adapter: each.failed for each in self.evaluations},
            "notes": self.notes,
        }


def run(config: Config, order: Order) -> Result:
    """Measure what `order` names.

    Raises `InputError`, `InferenceError` and `DatabaseError` in one sentence.
    """
    notes: list[str] = []
    held_out = _held_out(order)  # a mistake in it shows before the first hour is spent
    transcripts, title = _transcripts(config, order, notes)
    if order.save_to is not None:
        write_transcripts(order.save_to, transcripts)
    errors = [reply.error for each in transcripts for reply in each.replies if reply.error]
    if errors and len(errors) == sum(len(each.replies) for each in transcripts):
        raise TrainingError(f"Not one reply came: {errors[0]}")
    by_adapter: defaultdict[str, list[Transcript]] = defaultdict(list)
    for transcript in transcripts:
        by_adapter[transcript.adapter].append(transcript)
    relevance = similarity()
    if relevance is None:
        notes.append("Relevance is not measured: sentence-transformers is not installed.")
    evaluations = [
        evaluate(adapter, played, seed=order.seed, relevance=relevance)
        for adapter, played in by_adapter.items()
    ]
    if held_out:
        _add_perplexity(config, order, held_out, evaluations, notes)
    return Result(evaluations, transcripts, title, notes)


def _transcripts(config: Config, order: Order, notes: list[str]) -> tuple[list[Transcript], str]:
    if order.transcripts is not None:
        named = order.adapters[0] if order.adapters else ""
        return read_transcripts(
            order.transcripts, named
        ), f"Transcripts of {order.transcripts.name}"
    if order.live:
        cast = Cast(SHIPPED_CAST, config.paths.personas)
        logged = asyncio.run(read_live(config, cast, channel=order.channel, days=order.days))
        where = order.channel or "all channels"
        when = "" if order.days is None else f", last {order.days} days"
        return logged, f"The live log: {where}{when}"
    file = find_suite(order.suite)
    suite = read_suite(file)
    turns = sum(len(user.user_turns) for user in suite)
    notes.append(
        f"Suite {file.stem}: {len(suite)} dialogues, {turns} user turns, seed {order.seed}, prompt"
        " and decoding as served."
    )
    return asyncio.run(_played(config, order, suite)), f"Evaluation on {file.stem}"


async def _played(config: Config, order: Order, suite: Sequence[ScriptedUser]) -> list[Transcript]:
    client = InferenceClient(patient(config, len(suite)))
    sampling = parse_sampling(config.sampling.model_dump())
    found: list[Transcript] = []
    try:
        await client.start(log.info)
        for adapter in order.to_play:  # a wrong name shows before the first hour is spent
            client.adapters.resolve(adapter, client.info.fingerprint)
        for adapter in order.to_play:
            total = sum(len(user.user_turns) for user in suite)
            with tqdm(total=total, desc=f"Playing {adapter}", unit="reply") as bar:

                def progress(done: int, _: int, bar: Any = bar) -> None:
                    bar.update(done - bar.n)

                found += await play(
                    client,
                    suite,
                    adapter,
                    seed=order.seed,
                    sampling=sampling,
                    prompt=config.prompt,
                    on_progress=progress,
                    at_once=len(suite),
                )
    finally:
        await client.close()
    return found


def _held_out(order: Order) -> list[Example]:
    """The dialogues to compute perplexity on; none where nothing is played."""
    if order.held_out is None or order.transcripts is not None or order.live:
        return []
    from finetune.evaluation.perplexity import read_held_out

    return read_held_out(order.held_out)


def _add_perplexity(
    config: Config,
    order: Order,
    examples: Sequence[Example],
    evaluations: Iterable[Evaluation],
    notes: list[str],
) -> None:
    if config.inference.engine != "local":
        notes.append(
            "Perplexity is not measured: the model is on another server, which does not say how"
            " likely a given text is."
        )
        return
    from finetune.evaluation.perplexity import perplexities

    with tqdm(desc="Perplexity", unit="dialogue") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        measured = perplexities(
            config, order.to_play, examples, seed=order.seed, on_progress=progress
        )
    for evaluation in evaluations:
        evaluation.figures["perplexity"] = measured[evaluation.adapter]
    notes.append(f"Perplexity: {len(examples)} dialogues held out.")
