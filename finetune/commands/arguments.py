"""What the commands' options have in common: how they are spelt, read and refused."""

from __future__ import annotations

import argparse
from typing import Any, Literal, NoReturn, get_args, get_origin

_SEED_DIGITS = len(str(2**32 - 1))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options.\n")


def add_option(group: Any, name: str, **options: Any) -> None:
    """An option that is found with underscores and with hyphens."""
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    group.add_argument(*spellings, dest=name, **options)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every command has."""
    parser.add_argument("--config", help="the configuration file (default: config.toml)")
    parser.add_argument("--json", action="store_true", help="one JSON object with the figures on"
        " standard output")  # fmt: skip


def reader(kind: Any) -> Any:
    """How the text of an option becomes a value of the type `kind`."""
    if kind is bool:
        return truth
    if get_origin(kind) is list and get_args(kind) == (str,):
        return names
    if get_origin(kind) is Literal:
        return str
    return kind


def choices(kind: Any) -> tuple[str, ...] | None:
    """What an option of the type `kind` may be, if that is a list."""
    return get_args(kind) if get_origin(kind) is Literal else None


def seed(text: str) -> int:
    """All that the libraries' generators of random numbers take."""
    if not text.isdecimal() or len(text) > _SEED_DIGITS or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def truth(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def names(text: str) -> list[str]:
    """`q_proj,v_proj`, or as alpaca-lora's scripts have it, `[q_proj,v_proj]`."""
    found = (name.strip(" '\"") for name in text.strip(" []").split(","))
    return [name for name in found if name]
