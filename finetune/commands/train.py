"""`python -m finetune train`: teach the model from a channel's log or from a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config import Config, FinetuneSettings, explain, load
from finetune.commands.arguments import add_common, add_option, reader, seed
from finetune.errors import InputError


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    train = commands.add_parser(
        "train",
        help="train a LoRA adapter and publish it",
        description="Train a LoRA adapter on a channel's log or on a file, and publish it as the"
        " next version of its name. The bot may run meanwhile; /adapter set switches to it. What is"
        " not given here comes from the section [finetune] of the configuration.",
        allow_abbrev=False,
    )
    source = train.add_mutually_exclusive_group(required=True)
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
        metavar="FILE",
        help="learn an Alpaca-format file: JSON or JSONL rows of instruction, input (may be"
        " missing) and output",
    )
    train.add_argument(
        "--name",
        help="the adapter's name: lower-case letters, digits, - and _ (default: the character's id"
        " or the file's name)",
    )
    train.add_argument("--note", default="", help="a word on this version, kept beside it")
    train.add_argument("--seed", type=seed, default=0, help="for the order of examples and the"
        " adapter's first weights (default: 0)")  # fmt: skip
    add_common(train)
    settings = train.add_argument_group("training settings")
    for name, field in FinetuneSettings.model_fields.items():
        default = field.get_default()
        shown = ",".join(default) if isinstance(default, list) else default
        add_option(
            settings,
            name,
            metavar=name.rpartition("_")[2].upper(),
            type=reader(field.annotation),
            help=f"{field.description} (default: {shown})".replace("%", "%%"),
        )
    train.set_defaults(run=_train)


def _settings(config: Config, options: argparse.Namespace) -> FinetuneSettings:
    given = {name: getattr(options, name) for name in FinetuneSettings.model_fields}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        settings = FinetuneSettings.model_validate({**config.finetune.model_dump(), **changes})
    except ValidationError as error:
        raise InputError(explain(error)) from None
    if settings.batch_size % settings.micro_batch_size:
        raise InputError(
            f"batch_size = {settings.batch_size} cannot be divided into parts of micro_batch_size ="
            f" {settings.micro_batch_size}; make it a multiple."
        )
    return settings


def _train(options: argparse.Namespace) -> int:
    config = load(options.config)
    settings = _settings(config, options)
    from finetune.training.run import Order, run  # only now: it takes seconds to load

    order = Order(
        channel=options.channel,
        data_path=options.data_path,
        name=options.name,
        note=options.note,
        seed=options.seed,
    )
    adapter = run(config, settings, order)
    figures = adapter.card.figures
    if options.json:
        result = {
            "adapter": adapter.label,
            "name": adapter.name,
            "version": adapter.version,
            "folder": str(adapter.folder),
            "base_model": adapter.card.base_model,
            "data_hash": adapter.card.data_hash,
            "training": adapter.card.training,
            "figures": figures,
        }
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(
            f"Published {adapter.label}: {figures['replies']} replies in {figures['examples']}"
            f" examples, {figures['steps']} steps, loss {figures['first_loss']:.2f} →"
            f" {figures['final_loss']:.2f}, {figures['seconds']:.0f} s. In the bot:"
            f" /adapter set {adapter.name}"
        )
    return 0
