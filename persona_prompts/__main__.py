"""`python -m persona_prompts import FILE` and `export ID`: character cards in and out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from persona_prompts.cast import Cast

FAILED, WRONG_INPUT = 1, 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; --help lists the options.\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    import config
    from persona_prompts.cast import SHIPPED, Cast
    from persona_prompts.errors import CharacterError

    try:
        folder = config.load(options.config).paths.personas
        cast = Cast(SHIPPED, folder)
        if options.command == "import":
            _import(options, cast, folder)
        else:
            _export(options, cast)
    except (config.ConfigError, CharacterError) as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
        return FAILED
    return 0


def _import(options: argparse.Namespace, cast: Cast, folder: Path) -> None:
    from persona_prompts.cards.png import MAX_PNG_BYTES
    from persona_prompts.cards.store import import_card
    from persona_prompts.errors import CharacterError

    try:
        with options.file.open("rb") as stream:
            content = stream.read(MAX_PNG_BYTES + 1)
    except OSError as error:
        raise CharacterError(f"{options.file} cannot be read: {error.strerror}.") from None
    imported = import_card(
        content,
        options.file.name,
        folder,
        id=options.id,
        taken=cast.ids(),
        replacing=options.replace,
    )
    for warning in imported.character.warnings:
        print(warning, file=sys.stderr)
    print(f"{imported.character.name} is now {imported.character.id}, in {imported.file}.")


def _export(options: argparse.Namespace, cast: Cast) -> None:
    from persona_prompts.cards.store import export_card
    from persona_prompts.errors import CharacterError

    character = cast.get(options.id)
    in_png = character.file is not None and character.file.suffix.lower() == ".png"
    own: Literal["png", "json"] = "png" if in_png else "json"
    exported = export_card(character, options.kind or own, options.format)
    for warning in exported.warnings:
        print(warning, file=sys.stderr)
    file = options.output or Path(exported.name)
    try:
        with file.open("xb") as stream:
            stream.write(exported.content)
    except FileExistsError:
        raise CharacterError(f"There already is a file {file}; name another one.") from None
    print(f"{character.name} is in {file}.")


def _parser() -> _Parser:
    parser = _Parser(prog="python -m persona_prompts", description="Character cards in and out.")
    parser.add_argument("--config", type=Path, help="configuration file (default: config.toml)")
    shared = _Parser(add_help=False)
    shared.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="configuration file")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    into = commands.add_parser(
        "import", parents=[shared], help="take a card (V1, V2, V3; PNG, JSON) into paths.personas"
    )
    into.add_argument("file", metavar="FILE", type=Path)
    into.add_argument("--as", dest="id", metavar="ID", help="its id (default: from its name)")
    into.add_argument("--replace", action="store_true", help="in place of a character of this id")
    out = commands.add_parser("export", parents=[shared], help="write a character's card")
    out.add_argument("id", metavar="ID")
    out.add_argument("--format", choices=("v1", "v2", "v3"), help="(default: the card's own)")
    kind = out.add_mutually_exclusive_group()
    for name in ("png", "json"):
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name)
    out.add_argument("--output", metavar="FILE", type=Path, help="(default: ID.png or ID.json)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
