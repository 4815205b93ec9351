"""`python -m finetune train`: teach the model from a channel's log or from a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config import Config, FinetuneSettings, explain, load
from finetune.commands.arguments import add_common, add_option, choices, reader, seed
from finetune.errors import InputError
from finetune.training.world import check_batch

# What alpaca-lora's finetune.py has where nothing is given.
PRESETS: dict[str, dict[str, Any]] = {
    "alpaca-lora": {
        "method": "sft",
        "batch_size": 128,
        "micro_batch_size": 4,
        "num_epochs": 3.0,
        "learning_rate": 3e-4,
        "cutoff_len": 256,
        "val_set_size": 2000,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": ["q_proj", "v_proj"],
        "train_on_inputs": True,
        "add_eos_token": False,
        "group_by_length": False,
        "prompt_template_name": "alpaca",
    }
}

# The environment that wandb reads, and what is said of each.
_WANDB = {
    "wandb_project": (
        "WANDB_PROJECT",
        "send loss and learning rate to this project; sets report_to",
    ),
    "wandb_run_name": ("WANDB_NAME", "how the run is called there (default: wandb makes a name)"),
    "wandb_watch": ("WANDB_WATCH", "false, gradients, parameters or all: histograms besides"),
    "wandb_log_model": ("WANDB_LOG_MODEL", "false, end or checkpoint: also upload the adapter"),
}


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    train = commands.add_parser(
        "train",
        help="train an adapter and publish it",
        description="Train an adapter on a channel's log, on a file or on what prepare made, and"
        " publish it as the next version of its name. The bot may run meanwhile; /adapter set"
        " switches to it. What is not given here comes from the section [finetune] of the"
        " configuration. Ctrl-C leaves a checkpoint to resume from.",
        allow_abbrev=False,
    )
    add_source(train)
    add_option(
        train,
        "base_model",
        metavar="MODEL",
        help="the model to train for, instead of model.base: embedded, a folder, a .gguf file or a"
        " hub id",
    )
    _add_result(train)
    train.add_argument("--seed", type=seed, default=0, help="for the order of examples and the"
        " adapter's first weights (default: 0)")  # fmt: skip
    add_option(
        train,
        "resume_from_checkpoint",
        metavar="PATH",
        help="go on from this checkpoint, or from the newest one of this name (auto): weights,"
        " optimizer, learning rate and order of examples continue as if nothing had happened",
    )
    add_option(
        train,
        "start_from",
        metavar="NAME[@V]",
        help="begin with the weights of this adapter instead of fresh ones: default, a name or"
        " name@version, with the lora_r, lora_alpha and lora_target_modules of this training. A"
        " resumed training goes on with its checkpoint's",
    )
    add_common(train)
    add_settings(train)
    _add_wandb(train)
    train.set_defaults(run=_train)


def add_source(parser: argparse.ArgumentParser) -> None:
    """The options that say what is learnt from."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--channel",
        metavar="KEY",
        help="learn the characters' replies in this channel: discord:123, terminal:main or a bare"
        " Discord id",
    )
    add_option(
        source,
        "data_path",
        type=Path,
        metavar="PATH",
        help="learn from a folder that prepare made, from Alpaca rows (JSON or JSONL of"
        " instruction, input, which may be missing, and output), OpenAI messages or ShareGPT"
        " conversations",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """An option for every setting of `[finetune]`, and the presets."""
    settings = parser.add_argument_group("training settings")
    settings.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="take another script's defaults instead of [finetune]: alpaca-lora has batch_size 128,"
        " num_epochs 3, cutoff_len 256, val_set_size 2000, lora_r 8, the template alpaca, and"
        " learns the inputs but no end",
    )
    for name, field in FinetuneSettings.model_fields.items():
        default = field.get_default()
        # alpaca-lora's own command lines say `--train_on_inputs` and mean true.
        alone = {"nargs": "?", "const": True} if field.annotation is bool else {}
        shown = ",".join(default) if isinstance(default, list) else default
        add_option(
            settings,
            name,
            metavar=None if choices(field.annotation) else name.rpartition("_")[2].upper(),
            type=reader(field.annotation),
            choices=choices(field.annotation),
            help=f"{field.description} (default: {shown})".replace("%", "%%"),
            **alone,
        )


def _add_result(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--name",
        help="the adapter's name: lower-case letters, digits, - and _ (default: the character's id"
        " or the file's name)",
    )
    train.add_argument("--note", default="", help="a word on this version, kept beside it")
    add_option(
        train,
        "output_dir",
        type=Path,
        metavar="DIR",
        help="write the adapter here instead of publishing it; the bot then does not see it",
    )
    add_option(
        train,
        "no_promote",
        action="store_true",
        help="publish the new version, but let the name stand for the version it stood for",
    )


def _add_wandb(train: argparse.ArgumentParser) -> None:
    wandb = train.add_argument_group("Weights & Biases, if it is installed")
    for name, (_, description) in _WANDB.items():
        add_option(wandb, name, default="", metavar=name.rpartition("_")[2].upper(),
            help=description)  # fmt: skip


def settings_of(config: Config, options: argparse.Namespace) -> FinetuneSettings:
    """The configuration's settings, changed by a preset and by what was given.

    Raises `InputError` naming the one that is not usable.
    """
    given = {name: getattr(options, name) for name in FinetuneSettings.model_fields}
    changes = {name: value for name, value in given.items() if value is not None}
    if getattr(options, "wandb_project", ""):
        changes.setdefault("report_to", "wandb")
    preset = PRESETS.get(options.preset, {})
    try:
        settings = FinetuneSettings.model_validate(
            {**config.finetune.model_dump(), **preset, **changes}
        )
    except ValidationError as error:
        raise InputError(explain(error)) from None
    _check_wandb(settings, options)
    check_batch(settings)
    return settings


def _check_wandb(settings: FinetuneSettings, options: argparse.Namespace) -> None:
    """Options that would be passed over in silence are an error."""
    given = [name for name in _WANDB if getattr(options, name, "")]
    if given and settings.report_to != "wandb":
        raise InputError(
            f"--{given[0]} is for Weights & Biases; give --wandb_project or --report_to wandb too,"
            f" and no other report_to ({settings.report_to})."
        )


def _train(options: argparse.Namespace) -> int:
    config = load(options.config)
    settings = settings_of(config, options)
    from finetune.training.run import Order, run  # only now: it takes seconds to load

    order = Order(
        channel=options.channel,
        data_path=options.data_path,
        name=options.name,
        note=options.note,
        seed=options.seed,
        base_model=options.base_model,
        output_dir=options.output_dir,
        resume=options.resume_from_checkpoint,
        start_from=options.start_from,
        promote=not options.no_promote,
        wandb={
            variable: getattr(options, name)
            for name, (variable, _) in _WANDB.items()
            if getattr(options, name)
        },
    )
    adapter = run(config, settings, order)
    if adapter is None:  # another process than the first
        return 0
    published = order.output_dir is None
    figures = adapter.card.figures
    if options.json:
        result = {
            "adapter": adapter.label if published else None,
            "name": adapter.name,
            "version": adapter.version if published else None,
            "promoted": adapter.promoted,
            "folder": str(adapter.folder),
            "base_model": adapter.card.base_model,
            "data_hash": adapter.card.data_hash,
            "training": adapter.card.training,
            "figures": figures,
        }
        print(json.dumps(result, ensure_ascii=False))
        return 0
    learnt = (
        f"{figures['replies']} replies in {figures['examples']} examples, {figures['steps']} steps,"
        f" loss {figures['first_loss']:.2f} → {figures['final_loss']:.2f},"
        f" {figures['seconds']:.0f} s."
    )
    if not published:
        print(f"Wrote {adapter.folder}: {learnt}")
        return 0
    print(f"Published {adapter.label}: {learnt} {_use(adapter, settings)}")
    return 0


def _use(adapter: Any, settings: FinetuneSettings) -> str:
    if settings.use_dora:
        return (
            f'It uses DoRA and cannot share a batch: set model.merge_adapter = "{adapter.label}"'
            " to serve it alone."
        )
    name = adapter.name if adapter.promoted else adapter.label
    return f"In the bot: /adapter set {name}"
