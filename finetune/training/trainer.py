"""Training: a training set into an adapter, with TRL's trainers and PEFT."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from trl import DPOConfig, KTOConfig, SFTConfig

from config import FinetuneSettings
from finetune.dataset import Encoder
from finetune.disk import full_disk_said
from finetune.errors import InputError, TrainingError
from finetune.progress import Progress
from finetune.publishing import EMPTY
from finetune.training import checkpoints
from finetune.training.adapter import load_weights, trainable, trained_parameters, weights
from finetune.training.arguments import common, epochs_for
from finetune.training.checks import check_settings
from finetune.training.figures import figures_of, watch_memory
from finetune.training.material import Material, material, pair_rows, vote_rows
from finetune.training.packing import collate, packed_attention, row_of
from finetune.training.preference import PairTrainer, VoteTrainer
from finetune.training.replies import ReplyTrainer
from finetune.training.sharding import check_phases, gather, is_sharded
from finetune.training.starting import begin_from, described
from finetune.training.watching import History, Stopping
from finetune.training.world import check_batch, world_size
from finetune.training_set import TrainingSet
from inference.adapters import AdapterInfo
from inference.model_loading import LoadedModel

_UNCHANGED = "The training changed nothing; raise learning_rate or num_epochs."
_KTO_LEAST = 2  # replies at once: KTO compares each with another's


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its trained adapter on top, the figures, and the loss step by step."""

    model: Any  # peft.PeftModel
    figures: dict[str, Any]
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Phase:
    """One of TRL's trainers over one part of the material."""

    name: str  # of its folder; phases follow one another in alphabetical order
    title: str
    examples: int
    tokens: int
    build: Callable[[Any, Path], Any]  # (model, folder) → trainer
    packed: bool


def learn(
    loaded: LoadedModel,
    training_set: TrainingSet,
    settings: FinetuneSettings,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    resume: Path | None = None,
    start: AdapterInfo | None = None,
) -> Trained:
    """Train an adapter for `loaded` on what `settings.method` uses of `training_set`.

    It begins with fresh weights or with those of `start` (which `starting.find_start` checked).
    `scratch` is a folder that checkpoints go to; `resume` is one of them. Ctrl-C and SIGTERM end
    the step, leave a checkpoint and are then raised. Raises `InputError` for settings and data
    that do not fit together and for a full disk, and `TrainingError` in one sentence when memory
    runs out or the loss is no number any more.
    """
    check_settings(settings, loaded)
    made = material(training_set, encoder_for(loaded, settings), settings, seed)
    identity = _identity(loaded, settings, made, seed, start)
    if resume is not None:
        resume = resume.resolve()
        checkpoints.check(resume, identity)
    return _fit(loaded, made, settings, identity, seed, scratch, progress, resume, start)


def encoder_for(loaded: LoadedModel, settings: FinetuneSettings) -> Encoder:
    """What makes examples of `settings` into the model's tokens."""
    return Encoder(
        loaded.prompt_format,
        loaded.end_ids,
        settings.cutoff_len,
        train_on_inputs=settings.train_on_inputs,
        add_eos_token=settings.add_eos_token,
    )


def _identity(
    loaded: LoadedModel,
    settings: FinetuneSettings,
    made: Material,
    seed: int,
    start: AdapterInfo | None,
) -> dict[str, Any]:
    """What a checkpoint belongs to; only what changes what is learnt."""
    free = {"save_steps", "save_dtype", "report_to", "gradient_checkpointing"}
    return {
        "base_model": loaded.info.name,
        "base_fingerprint": loaded.info.fingerprint,
        "settings": {
            "seed": seed,
            **settings.model_dump(exclude=free),
            "start_from": described(start),
        },
        "data": made.hash,
    }


def _fit(
    loaded: LoadedModel,
    made: Material,
    settings: FinetuneSettings,
    identity: dict[str, Any],
    seed: int,
    scratch: Path,
    progress: Progress,
    resume: Path | None,
    start: AdapterInfo | None,
) -> Trained:
    history, stopping = History(progress), Stopping()
    callbacks = [history, stopping, checkpoints.Marking(identity)]
    phases = _phases(loaded, made, settings, seed, callbacks)
    check_phases(len(phases))
    names = [phase.name for phase in phases]
    reached = checkpoints.phase_of(resume, names) if resume is not None else ""
    memory = watch_memory(loaded.model.device)
    seconds, tokens = 0.0, 0.0
    with explained(settings, scratch), stopping.listening():
        set_seed(seed)
        model = trainable(loaded, settings)
        if start is not None:  # a checkpoint's own weights come over it when it is resumed
            begin_from(model, start)
        fresh = weights(model)
        for phase in phases:
            folder = scratch / phase.name
            here = resume is not None and phase.name == reached
            if resume is not None and not here:  # behind the checkpoint
                load_weights(model, checkpoints.finished(resume, phase.name))
                if folder.resolve() != resume.parent.parent / phase.name:
                    _keep(model, folder)  # for checkpoints that are still to come
                continue
            history.phase = phase.title
            progress.phase(phase.title if len(phases) > 1 else "")
            # Asked for now: the trainer removes old checkpoints.
            done_before = checkpoints.step_of(resume) if resume is not None else 0
            started = time.monotonic()
            trainer = phase.build(model, folder)
            trainer.remove_callback(PrinterCallback)
            base = model.get_base_model()
            with packed_attention(base) if phase.packed else contextlib.nullcontext():
                trainer.train(resume_from_checkpoint=str(resume) if here else None)
            resume = None
            seconds += time.monotonic() - started
            share = (trainer.state.global_step - done_before) / trainer.state.max_steps
            tokens += phase.tokens * epochs_for(settings, phase.examples) * share
            if stopping.by is not None:
                break
            if "ref" in model.peft_config:  # what DPO and KTO measured against
                model.delete_adapter("ref")
            if phase is not phases[-1]:
                _keep(model, folder)
    if is_sharded():
        gather(model)
    if all(torch.equal(before, after) for before, after in zip(fresh, weights(model), strict=True)):
        raise TrainingError(EMPTY if start is None else _UNCHANGED)
    model.peft_config["default"].base_model_name_or_path = loaded.info.name
    figures = figures_of(made, history, settings, phases[-1].title, seconds, tokens)
    figures["peak_memory_mb"] = memory()
    figures["trained_parameters"] = trained_parameters(model)
    return Trained(model, figures, tuple(history.rows))


def _keep(model: Any, folder: Path) -> None:
    model.save_pretrained(str(folder / checkpoints.FINISHED), save_embedding_layers=False)


def _phases(
    loaded: LoadedModel,
    made: Material,
    settings: FinetuneSettings,
    seed: int,
    callbacks: list[Any],
) -> list[_Phase]:
    phases = []
    if made.replies:
        phases.append(_reply_phase(loaded, made, settings, seed, callbacks))
    if made.pairs:
        phases.append(_pair_phase(loaded, made, settings, seed, callbacks))
    if made.votes:
        phases.append(_vote_phase(loaded, made, settings, seed, callbacks))
    return phases


def _reply_phase(
    loaded: LoadedModel,
    made: Material,
    settings: FinetuneSettings,
    seed: int,
    callbacks: list[Any],
) -> _Phase:
    # PEFT puts the learnt prompt before a row, so a row must be one example.
    prompt = settings.method == "prompt_tuning"
    chosen = settings.model_copy(update={"micro_batch_size": 1}) if prompt else settings

    def build(model: Any, folder: Path) -> ReplyTrainer:
        return ReplyTrainer(
            model=model,
            args=SFTConfig(
                **common(loaded, chosen, len(made.replies), seed, folder),
                learning_rate=settings.learning_rate,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
                eval_strategy="epoch" if made.validation else "no",
                prediction_loss_only=True,
                train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
            ),
            train_dataset=Dataset.from_list([row_of(one) for one in made.replies]),
            eval_dataset=(
                Dataset.from_list([row_of(one) for one in made.validation])
                if made.validation
                else None
            ),
            data_collator=collate_prompted if prompt else collate,
            processing_class=loaded.tokenizer,
            callbacks=callbacks,
            unlikelihood_weight=settings.unlikelihood_weight,
        )

    tokens = sum(len(one.input_ids) for one in made.replies)
    return _Phase("1-replies", "replies", len(made.replies), tokens, build, packed=not prompt)


def collate_prompted(rows: Any) -> dict[str, torch.Tensor]:
    """One example, without the places that PEFT counts itself behind its learnt prompt."""
    row = collate(rows)
    return {key: row[key] for key in ("input_ids", "labels", "unwanted")}


def _pair_phase(
    loaded: LoadedModel,
    made: Material,
    settings: FinetuneSettings,
    seed: int,
    callbacks: list[Any],
) -> _Phase:
    def build(model: Any, folder: Path) -> PairTrainer:
        return PairTrainer(
            model=model,
            args=DPOConfig(
                **common(loaded, settings, len(made.pairs), seed, folder),
                learning_rate=settings.preference_learning_rate,
                max_length=None,
                beta=settings.dpo_beta,
                loss_type=["sigmoid", "sft"],
                loss_weights=[1.0, settings.dpo_sft_weight],
            ),
            train_dataset=Dataset.from_list(pair_rows(made.pairs)),
            processing_class=loaded.tokenizer,
            callbacks=callbacks,
        )

    tokens = sum(len(side.prompt_ids) + len(side.reply_ids) for pair in made.pairs for side in pair)
    return _Phase("2-pairs", "pairs", len(made.pairs), tokens, build, packed=False)


def _vote_phase(
    loaded: LoadedModel,
    made: Material,
    settings: FinetuneSettings,
    seed: int,
    callbacks: list[Any],
) -> _Phase:
    micro = max(settings.micro_batch_size, _KTO_LEAST)
    batch = max(1, settings.batch_size // micro) * micro
    chosen = settings.model_copy(update={"micro_batch_size": micro, "batch_size": batch})
    if world_size() > 1:  # with the batch_size that was given
        check_batch(settings.model_copy(update={"micro_batch_size": micro}))

    def build(model: Any, folder: Path) -> VoteTrainer:
        return VoteTrainer(
            model=model,
            args=KTOConfig(
                **common(loaded, chosen, len(made.votes), seed, folder),
                learning_rate=settings.preference_learning_rate,
                max_length=None,
                beta=settings.dpo_beta,
            ),
            train_dataset=Dataset.from_list(vote_rows(made.votes, seed)),
            processing_class=loaded.tokenizer,
            callbacks=callbacks,
        )

    tokens = sum(len(reply.prompt_ids) + len(reply.reply_ids) for reply, _ in made.votes)
    return _Phase("1-votes", "votes", len(made.votes), tokens, build, packed=False)


@contextmanager
def explained(settings: FinetuneSettings, scratch: Path) -> Iterator[None]:
    """Turn running out of memory or disk into one sentence."""
    full = f"The disk of {scratch} is full; free some space and resume, or move paths.data."
    try:
        with full_disk_said(full):
            yield
    except (RuntimeError, MemoryError, OSError) as error:
        text = str(error).lower()
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not (
            "out of memory" in text or "allocate memory" in text
        ):
            raise
        raise TrainingError(
            f"The training ran out of memory; lower micro_batch_size ({settings.micro_batch_size})"
            f" or cutoff_len ({settings.cutoff_len}), or set gradient_checkpointing."
        ) from error


__all__ = ["InputError", "Trained", "check_settings", "epochs_for", "learn"]
