"""`python -m finetune evaluate`: how often does a model say again who it is, and what else."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from config import load
from finetune.commands.arguments import add_common, add_option, seed
from finetune.errors import InputError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure identity repetition, adapters side by side",
        description="Play scripted users against the model, as the bot would answer them, and"
        " measure identity repetition and its guards for each adapter, with 95 % intervals. Or"
        " measure transcripts that exist, or the live log.",
        allow_abbrev=False,
    )
    source = evaluate.add_mutually_exclusive_group()
    source.add_argument(
        "--suite",
        metavar="FILE",
        help="JSONL of scripted users, or development or test, which are shipped (default:"
        " development; test is for final figures only)",
    )
    source.add_argument(
        "--transcripts",
        type=Path,
        metavar="FILE",
        help="measure these dialogues: rows of a suite with replies besides",
    )
    source.add_argument(
        "--live", action="store_true", help="measure what the bot said in its channels"
    )
    evaluate.add_argument(
        "--adapter",
        action="append",
        metavar="NAME",
        help="base, default, a name or name@version; repeatable (default: default). With"
        " --transcripts: whose the rows are that do not say so",
    )
    evaluate.add_argument("--channel", metavar="KEY", help="with --live: only this channel")
    evaluate.add_argument(
        "--days", type=_days, metavar="N", help="with --live: only the last N days"
    )
    evaluate.add_argument("--seed", type=seed, default=0, help="of replies and intervals (default:"
        " 0); the same seed, the same figures")  # fmt: skip
    add_option(
        evaluate,
        "held_out",
        type=Path,
        metavar="FILE",
        help="dialogues to measure perplexity on, JSONL rows of OpenAI messages (default: the"
        " shipped ones)",
    )
    add_option(
        evaluate,
        "save_transcripts",
        type=Path,
        metavar="FILE",
        help="write the dialogues as --transcripts takes them",
    )
    evaluate.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots and"
        " transcripts")  # fmt: skip
    add_common(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) <= 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 36500")
    return int(text)


def _evaluate(options: argparse.Namespace) -> int:
    config = load(options.config)
    logging.basicConfig(level=config.log.level, format="%(message)s", stream=sys.stderr)
    _check(options)
    from finetune.evaluation.run import Order, run  # only now: it takes seconds to load
    from finetune.evaluation.suite import SUITES, write_whole
    from finetune.evaluation.table import table

    order = Order(
        suite=options.suite or Order().suite,
        adapters=tuple(dict.fromkeys(options.adapter or ())),
        transcripts=options.transcripts,
        live=options.live,
        save_to=options.save_transcripts,
        channel=options.channel,
        days=options.days,
        held_out=options.held_out or SUITES / "held_out.jsonl",
        seed=options.seed,
    )
    result = run(config, order)
    if options.html is not None:
        from finetune.evaluation.report.page import page

        html = page(result.evaluations, title=result.title, notes=result.notes)
        write_whole(options.html, html)
        print(f"The page is {options.html}.", file=sys.stderr)
    for note in result.notes:
        print(note, file=sys.stderr)
    if result.failed:
        print(f"{result.failed} replies failed and are measured nowhere.", file=sys.stderr)
    if options.json:
        print(json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        print(table(result.evaluations))
    return 0


def _check(options: argparse.Namespace) -> None:
    """Options that would be passed over in silence are an error."""
    if not options.live and (options.channel is not None or options.days is not None):
        raise InputError("--channel and --days say what of the log to measure; add --live.")
    if options.live and options.adapter:
        raise InputError(
            "--adapter does not go with --live; in the log each reply names its own adapter."
        )
    if options.transcripts and len(options.adapter or ()) > 1:
        raise InputError(
            "With --transcripts one --adapter is enough: it names the rows that do not say theirs."
        )
    if (options.live or options.transcripts) and options.held_out:
        raise InputError("--held_out is measured on a model; play a suite for it.")
