"""`python -m inference generate`: one reply from the model, for trying things and for scripts."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys

from config import Config, ConfigError, load
from inference.client import InferenceClient
from inference.types import (
    Chunk,
    GenerationRequest,
    InferenceError,
    Message,
    Sampling,
    parse_sampling,
    sampling_range,
)

_NUMBERS = [
    name
    for name, field in Sampling.model_fields.items()
    if field.annotation in (int, float, int | None)
]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = load(options.config)
        request = _request(config, options)
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log.level, format="%(message)s", stream=sys.stderr)
    try:
        return asyncio.run(_generate(config, request, as_json=options.json))
    except InferenceError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="write one reply to standard output")
    generate.add_argument("prompt", help="what the user says; - reads standard input")
    generate.add_argument("--system", default="", help="a system message before it")
    generate.add_argument("--adapter", default="default", help="a name, name@version, or base")
    generate.add_argument("--config", help="the configuration file (default: config.toml)")
    generate.add_argument("--json", action="store_true", help="one JSON object with the figures")
    generate.add_argument("--stop", action="append", help="end before this text; repeatable")
    for name in _NUMBERS:
        whole = "whole" in sampling_range(name)
        generate.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=int if whole else float,
            help=sampling_range(name),
        )
    return parser


def _request(config: Config, options: argparse.Namespace) -> GenerationRequest:
    """What the options ask for. Raises `ValueError` in one sentence."""
    given = {name: getattr(options, name) for name in _NUMBERS}
    changes = {name: value for name, value in given.items() if value is not None}
    if options.stop:
        changes["stop"] = tuple(options.stop)
    sampling = parse_sampling({**config.sampling.model_dump(), **changes})
    text = sys.stdin.read() if options.prompt == "-" else options.prompt
    messages = [Message(role="user", content=text)]
    if options.system:
        messages.insert(0, Message(role="system", content=options.system))
    return GenerationRequest(messages=tuple(messages), adapter=options.adapter, sampling=sampling)


async def _generate(config: Config, request: GenerationRequest, *, as_json: bool) -> int:
    client = InferenceClient(config)
    try:
        await client.start()
        return await _print(client, request, as_json=as_json)
    finally:
        await client.close()


async def _print(client: InferenceClient, request: GenerationRequest, *, as_json: bool) -> int:
    text, last = "", Chunk()
    async for last in client.generate(request):
        text = "" if last.restart else text + last.text
        if not as_json:
            print(last.text, end="", flush=True)
    if last.finish_reason == "error":
        print(last.error, file=sys.stderr)
        return 1
    if as_json:
        usage = last.usage.model_dump() if last.usage else None
        result = {"text": text, "finish_reason": last.finish_reason, "adapter": last.adapter}
        print(json.dumps({**result, "usage": usage}, ensure_ascii=False))
    else:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
