"""`python -m finetune train`: teach the model from a channel's log or from a file."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from pydantic import ValidationError

from config import Config, ConfigError, FinetuneSettings, explain, load
from db.database import DatabaseError
from finetune.errors import InputError, TrainingError
from inference.types import InferenceError
from persona_prompts.character import CharacterError

_SEED_DIGITS = len(str(2**32 - 1))
_WRONG_INPUT = (InputError, ConfigError, InferenceError, CharacterError, DatabaseError)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    # As after Ctrl-C, what was begun is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _train(options)
    except _WRONG_INPUT as error:
        print(error, file=sys.stderr)
        return 2
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing was published.", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m finetune", description="Teach the model from what was said.")
    commands = parser.add_subparsers(dest="command", required=True)
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
    _add(source, "data_path", type=Path, metavar="FILE", help="learn an Alpaca-format file: JSON or"
        " JSONL rows of instruction, input (may be missing) and output")  # fmt: skip
    train.add_argument(
        "--name",
        help="the adapter's name: lower-case letters, digits, - and _ (default: the character's id"
        " or the file's name)",
    )
    train.add_argument("--note", default="", help="a word on this version, kept beside it")
    train.add_argument("--seed", type=_seed, default=0, help="for the order of examples and the"
        " adapter's first weights (default: 0)")  # fmt: skip
    train.add_argument("--config", help="the configuration file (default: config.toml)")
    train.add_argument("--json", action="store_true", help="one JSON object with the figures on"
        " standard output")  # fmt: skip
    settings = train.add_argument_group("training settings")
    for name, field in FinetuneSettings.model_fields.items():
        default = field.get_default()
        shown = ",".join(default) if isinstance(default, list) else default
        _add(
            settings,
            name,
            metavar=name.rpartition("_")[2].upper(),
            type=_reader(field.annotation),
            help=f"{field.description} (default: {shown})".replace("%", "%%"),
        )
    return parser


def _add(group: Any, name: str, **options: Any) -> None:
    """An option that is found with underscores and with hyphens."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    group.add_argument(*spellings, dest=name, **options)


def _reader(kind: Any) -> Any:
    """How the text of an option becomes a value of this type."""
    if kind is bool:
        return _truth
    if get_origin(kind) is list and get_args(kind) == (str,):
        return _names
    return kind


def _seed(text: str) -> int:
    """All that the libraries' generators of random numbers take."""
    if not text.isdecimal() or len(text) > _SEED_DIGITS or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _names(text: str) -> list[str]:
    """`q_proj,v_proj`, or as alpaca-lora's scripts have it, `[q_proj,v_proj]`."""
    names = (name.strip(" '\"") for name in text.strip(" []").split(","))
    return [name for name in names if name]


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
    from finetune.command import Order, run  # only now: it takes seconds to load

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


if __name__ == "__main__":
    sys.exit(main())
