"""`python -m bot`: Discord where there is a token, else the terminal.

Nothing heavy is imported at the top: the inference worker is started with `spawn`, which imports
this module again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from config import Config

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130

HOW_TO_ATTACH = """\
No DISCORD_TOKEN found, so this is the terminal; the same characters wait for Discord.
To attach Discord, put DISCORD_TOKEN=… into the file .env (README, "Into Discord") and start again.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    from bot.startup import StartupError, Unavailable, read_settings

    try:
        settings = read_settings(options.config)
        if options.command == "chat":
            return _chat(settings.config, options)
        if options.command == "web":
            return _web(settings.config, options)
        if settings.token is None and options.command == "discord":
            raise StartupError(
                "There is no Discord token; set DISCORD_TOKEN in the environment or in .env."
            )
        if settings.token is None:
            sys.stderr.write(HOW_TO_ATTACH)
            return _chat(settings.config, _parser().parse_args(["chat"]))
        from bot.client import run_discord

        return run_discord(settings.config, settings.token)
    except StartupError as error:
        print(error, file=sys.stderr)
        return FAILED if isinstance(error, Unavailable) else WRONG_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        # Through the log, which hides secrets; Python's own report would not.
        logging.getLogger("bot").exception("The bot failed.")
        return FAILED


def _chat(config: Config, options: argparse.Namespace) -> int:
    from bot.casting import Overrides
    from bot.terminal import run_terminal

    overrides = Overrides(options.persona, options.adapter, options.seed)
    return run_terminal(config, options.channel, overrides)


def _web(config: Config, options: argparse.Namespace) -> int:
    from bot.web.server import WebOptions, run_web

    chosen = WebOptions(
        options.server_name, options.port, options.share_gradio, tuple(options.base_model)
    )
    return run_web(config, chosen)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; --help lists the options.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bot",
        description="Discord characters on your own LLaMA. Without a command: Discord if"
        " DISCORD_TOKEN is set (environment or .env), else the terminal.",
    )
    parser.add_argument("--config", type=Path, help="configuration file (default: config.toml)")
    shared = _Parser(add_help=False)
    shared.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="configuration file")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    chat = commands.add_parser(
        "chat", parents=[shared], help="talk in the terminal; piped in, one reply per line"
    )
    chat.add_argument("--persona", metavar="P", help="character for this run")
    chat.add_argument("--adapter", metavar="A", help="adapter for this run")
    chat.add_argument(
        "--channel", metavar="C", default="main", help="conversation to go on with (main)"
    )
    chat.add_argument("--seed", metavar="N", type=_seed, help="make the replies reproducible")
    web = commands.add_parser(
        "web",
        parents=[shared],
        help="a page in the browser: chat, compare two adapters, single prompts",
    )
    web.add_argument(
        "--server_name",
        "--server-name",
        metavar="HOST",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1: this machine alone; 0.0.0.0: everybody near)",
    )
    web.add_argument("--port", type=_port, default=7860, help="0 takes a free one (7860)")
    web.add_argument(
        "--share_gradio",
        "--share-gradio",
        type=_truth,
        nargs="?",
        const=True,
        default=False,
        metavar="True",
        help="also make a public link through Gradio's servers: everybody who has it can talk",
    )
    web.add_argument(
        "--base_model",
        "--base-model",
        metavar="M",
        action="append",
        default=[],
        help="a model instead of model.base, which can be chosen in the page; repeatable",
    )
    commands.add_parser("discord", parents=[shared], help="run the Discord bot")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 19 or int(text) >= 2**63:
        raise argparse.ArgumentTypeError("a seed is a whole number from 0 up to 2^63 - 1")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a whole number from 0 to 65535")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("it is True or False")
    return text.lower() == "true"


if __name__ == "__main__":
    sys.exit(main())
