"""Training: a training set into an adapter, with TRL's trainers and PEFT."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, set_seed

from config import FinetuneSettings
from finetune.dataset import Encoder
from finetune.disk import full_disk_said
from finetune.errors import TrainingError
from finetune.progress import Progress
from finetune.publishing import EMPTY
from finetune.training import checkpoints, tracking
from finetune.training.adapter import (
    load_weights,
    trainable,
    trained_parameters,
    unrounded,
    weights,
)
from finetune.training.arguments import epochs_for
from finetune.training.checks import check_settings
from finetune.training.figures import figures_of, watch_memory
from finetune.training.material import Material, material
from finetune.training.packing import packed_attention
from finetune.training.phases import Course
from finetune.training.sharding import check_phases, gather, is_sharded
from finetune.training.starting import begin_from, described
from finetune.training.watching import History, Stopping
from finetune.training_set import TrainingSet
from inference.adapters import AdapterInfo
from inference.model_loading import LoadedModel

_UNCHANGED = "The training changed nothing; raise learning_rate or num_epochs."


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its trained adapter on top, the figures, and the loss step by step."""

    model: Any  # peft.PeftModel
    figures: dict[str, Any]
    history: tuple[dict[str, Any], ...] = ()


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
    callbacks = (history, stopping, checkpoints.Marking(identity))
    phases = Course(loaded, made, settings, seed, callbacks).phases()
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
            with unrounded(model):
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


@contextmanager
def explained(settings: FinetuneSettings, scratch: Path) -> Iterator[None]:
    """Turn running out of memory or disk, and what `report_to` refuses, into one sentence."""
    full = f"The disk of {scratch} is full; free some space and resume, or move paths.data."
    try:
        with full_disk_said(full):
            yield
    except Exception as error:
        if (refused := tracking.refusal(settings.report_to, error)) is not None:
            raise refused from error
        if not _out_of_memory(error):
            raise
        raise TrainingError(
            f"The training ran out of memory; lower micro_batch_size ({settings.micro_batch_size})"
            f" or cutoff_len ({settings.cutoff_len}), or set gradient_checkpointing."
        ) from error


def _out_of_memory(error: Exception) -> bool:
    """torch has its own error on a GPU, and none on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    said = "out of memory" in text or "allocate memory" in text
    return said and isinstance(error, (RuntimeError, OSError))
