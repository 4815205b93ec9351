"""One training from start to end: read, load, learn, publish."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Config, FinetuneSettings, ModelSettings
from finetune.dataset import data_hash
from finetune.disk import full_disk_said
from finetune.errors import InputError
from finetune.progress import Progress
from finetune.publishing import (
    adapter_name,
    deliver,
    describe,
    discard_abandoned,
    save_weights,
    staged,
)
from finetune.training.devices import training_model, use_one_gpu
from finetune.training.reading import Data, read_channel, read_path
from finetune.training.tracking import RUNS, check_installed, set_up
from finetune.training.workplace import workplace
from finetune.training.world import is_first
from finetune.training_set import TrainingSet
from inference.adapters import WEIGHTS_FILE, AdapterCard, AdapterInfo, AdapterRegistry, check_name

if TYPE_CHECKING:
    from finetune.training.trainer import Trained
    from inference.model_loading import LoadedModel

_CHECKPOINTS = "checkpoints"
AUTO = "auto"  # of resume_from_checkpoint: the newest one of this name, if there is one
MERGE_ONLY = "model.merge_adapter only: DoRA cannot share a batch with other adapters"

_LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "torch")


@dataclass(frozen=True, slots=True)
class Order:
    """What to learn from, and what becomes of it; one of `channel` and `data_path` is set.

    `output_dir` takes the adapter's files instead of the registry. `resume` is a checkpoint's
    folder or `auto`. `start_from` is an adapter whose weights the training begins with; what is
    resumed has begun already. `wandb` holds the environment that wandb reads.
    """

    channel: str | None = None
    data_path: Path | None = None
    name: str | None = None
    note: str = ""
    seed: int = 0
    base_model: str | None = None
    output_dir: Path | None = None
    resume: str | None = None
    start_from: str | None = None
    promote: bool = True
    wandb: dict[str, str] = field(default_factory=dict)


def run(config: Config, settings: FinetuneSettings, order: Order) -> AdapterInfo | None:
    """Train and publish what `order` says.

    Nothing is seen of the new version before it is complete. Raises `InputError` and the errors of
    the rooms below for what can be known before the training, `TrainingError` afterwards. None in
    all processes but the first, where several train together.
    """
    if order.name is not None:
        check_name(order.name)
    check_installed(settings.report_to)
    if order.output_dir is not None:
        _check_output(order.output_dir)
    prepare_libraries()
    set_up(order.wandb, order.output_dir or config.paths.data)
    data = read(config, settings, order)
    name = order.name or adapter_name(data.name)
    check_name(name)
    if not is_first():
        _follow(config, settings, order, data, name)
        return None
    discard_abandoned(config.adapters_dir)
    try:
        with workplace(_place(config, order, name), keep=order.resume is not None) as scratch:
            return _lead(config, settings, order, data, name, scratch)
    except BaseException:
        if order.output_dir is not None:
            _remove_if_empty(order.output_dir)
        raise


def _place(config: Config, order: Order, name: str) -> Path:
    """Where checkpoints stay until the adapter is done."""
    if order.output_dir is not None:
        return order.output_dir / _CHECKPOINTS
    return config.paths.data / "training" / name


def read(config: Config, settings: FinetuneSettings, order: Order) -> Data:
    """The data that `order` names; no model is needed yet."""
    if order.data_path is not None:
        return read_path(settings, order.data_path)
    assert order.channel is not None
    return read_channel(config, settings, order.channel, order.seed)


def _lead(
    config: Config,
    settings: FinetuneSettings,
    order: Order,
    data: Data,
    name: str,
    scratch: Path,
) -> AdapterInfo:
    """Train in the first process, and write what came of it."""
    registry = AdapterRegistry(config.adapters_dir)
    loaded, made = load_and_cut(config, settings, order, data)
    start = _start(registry, settings, order, loaded)
    with _staging(registry, name, order) as folder, Progress(f"Training {name}") as progress:
        trained = _learn(loaded, made, settings, order, start, scratch, progress)
        save_weights(trained.model, folder, settings.save_dtype)
        _draw(folder, name, trained)
        card = _describe(folder, loaded, made, settings, order, data, trained, start)
        if order.output_dir is None:
            return registry.publish(folder, name, promote=order.promote)
        deliver(folder, order.output_dir)
        return AdapterInfo(name, 0, order.output_dir, promoted=False, card=card)


def _follow(
    config: Config, settings: FinetuneSettings, order: Order, data: Data, name: str
) -> None:
    """Train along in any other process; checkpoints and adapter are the first one's work."""
    loaded, made = load_and_cut(config, settings, order, data)
    start = _start(AdapterRegistry(config.adapters_dir), settings, order, loaded)
    scratch = _place(config, order, name)
    with Progress(name, shown=False) as progress:
        _learn(loaded, made, settings, order, start, scratch, progress)


def load_and_cut(
    config: Config, settings: FinetuneSettings, order: Order, data: Data
) -> tuple[LoadedModel, TrainingSet]:
    """The model to train, and the data cut to its tokens."""
    device = use_one_gpu(config.model.device)  # before torch is loaded
    from finetune.training.checks import check_settings
    from finetune.training.trainer import encoder_for
    from inference.model_loading import load_model

    changes: dict[str, str] = {"device": device}
    if order.base_model is not None:
        changes["base"] = order.base_model
    if settings.prompt_template_name != "auto":
        changes["prompt_format"] = settings.prompt_template_name
    chosen: ModelSettings = training_model(config.model.model_copy(update=changes))
    registry = AdapterRegistry(config.adapters_dir)
    loaded = load_model(chosen, config.models_dir, adapters=registry, on_progress=_say)
    check_settings(settings, loaded)
    return loaded, data.cut(encoder_for(loaded, settings), loaded.info)


def _start(
    registry: AdapterRegistry, settings: FinetuneSettings, order: Order, loaded: LoadedModel
) -> AdapterInfo | None:
    if order.start_from is None:
        return None
    from finetune.training.starting import find_start

    return find_start(registry, order.start_from, loaded, settings)


def _learn(
    loaded: LoadedModel,
    made: TrainingSet,
    settings: FinetuneSettings,
    order: Order,
    start: AdapterInfo | None,
    scratch: Path,
    progress: Progress,
) -> Trained:
    from finetune.training.checkpoints import newest
    from finetune.training.trainer import learn

    resume = None
    if order.resume == AUTO:
        resume = newest(scratch)
        _say(f"Resuming {resume}." if resume else "There is no checkpoint yet; beginning anew.")
    elif order.resume is not None:
        resume = Path(order.resume)
    try:
        return learn(
            loaded,
            made,
            settings,
            seed=order.seed,
            scratch=scratch,
            progress=progress,
            resume=resume,
            start=start,
        )
    except BaseException:
        kept = newest(scratch)
        if kept is not None and is_first():
            _say(f"The checkpoint {kept} is kept; --resume_from_checkpoint auto goes on from it.")
        raise


def _describe(
    folder: Path,
    loaded: LoadedModel,
    made: TrainingSet,
    settings: FinetuneSettings,
    order: Order,
    data: Data,
    trained: Trained,
    start: AdapterInfo | None,
) -> AdapterCard:
    training: dict[str, Any] = {
        **settings.model_dump(),
        "source": data.source,
        "seed": order.seed,
        "start_from": None if start is None else start.label,
        "prompt_template": loaded.info.prompt_format,
        "base_dtype": loaded.info.dtype,
        "data": made.report,
        "replay": made.report.get("replay"),
    }
    if settings.use_dora:
        training["served_by"] = MERGE_ONLY
    return describe(
        folder,
        loaded.info,
        data_hash=data_hash(made.train),
        note=order.note,
        training=training,
        figures=trained.figures,
    )


def _draw(folder: Path, name: str, trained: Trained) -> None:
    from finetune.training.plot import write_plots

    write_plots(folder, name, trained.history, trained.figures)


@contextmanager
def _staging(registry: AdapterRegistry, name: str, order: Order) -> Iterator[Path]:
    """A hidden folder for the adapter's files, on the file system that they go to."""
    if order.output_dir is None:
        with staged(registry, name) as folder:
            yield folder
        return
    folder = order.output_dir / f".staging-{os.getpid()}"
    folder.mkdir()
    try:
        with full_disk_said(
            f"The disk of {order.output_dir} is full; free some space and train again, or choose"
            " another --output_dir."
        ):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_output(folder: Path) -> None:
    """Only what is an adapter already, or was to become one, may be replaced."""
    if folder.is_file() or (
        folder.is_dir()
        and any(entry.name not in (_CHECKPOINTS, RUNS) for entry in folder.iterdir())
        and not (folder / WEIGHTS_FILE).is_file()
    ):
        raise InputError(f"{folder} holds something other than an adapter; choose an empty folder.")


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _say(sentence: str) -> None:
    if is_first():
        print(sentence, file=sys.stderr)


def prepare_libraries() -> None:
    """Before torch is loaded: nothing on the terminal that a user cannot act on."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
