"""`python -m finetune COMMAND`: each command is a module of `finetune.commands`."""

from __future__ import annotations

import os
import signal
import sys

from config import ConfigError
from db.database import DatabaseError
from finetune.commands import evaluate, example, export, prepare, retrain, schedule, train
from finetune.commands.arguments import Parser
from finetune.errors import InputError, TrainingError
from finetune.training.world import is_first
from inference.types import InferenceError
from persona_prompts.character import CharacterError

_COMMANDS = (prepare, example, train, evaluate, export, retrain, schedule)
_WRONG_INPUT = (InputError, ConfigError, InferenceError, CharacterError, DatabaseError)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    # Read when torch is loaded. Threads that wait by spinning make a machine with other work on it,
    # such as the bot that serves meanwhile, many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # As after Ctrl-C, what was begun is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return int(options.run(options))
    except _WRONG_INPUT as error:
        _say(error)
        return 2
    except TrainingError as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        _say("Stopped; nothing was published.")
        return 130


def _say(sentence: object) -> None:
    """Once, where several processes train together and come to the same end."""
    if is_first():
        print(sentence, file=sys.stderr)


def _parser() -> Parser:
    parser = Parser(prog="python -m finetune", description="Teach the model from what was said.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
