"""`python -m finetune retrain`: one run from the log to a promotion, or a reason against it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

from config import load
from finetune.commands.arguments import add_common, add_option, seed

if TYPE_CHECKING:
    from db.runs import Run

_TRIGGERS = ("command", "schedule", "discord")


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    retrain = commands.add_parser(
        "retrain",
        help="train on the log, compare with what is in use, promote what is better",
        description="One run of the whole loop: copy the database, prepare, train a challenger,"
        " let it and the champion play the probe suite, judge, promote or reject, report. The"
        " sections [retrain], [gate] and [canary] of the configuration say how. A run that was"
        " broken off is gone on with. Ctrl-C and SIGTERM stop where it can be gone on with. Exit"
        " code 0: it came to its end, also if the challenger was rejected or there was too little"
        " to learn from; 1: it failed; 2: none began, because something is set wrongly or another"
        " is at work.",
        allow_abbrev=False,
    )
    retrain.add_argument("--adapter", metavar="NAME", help="the adapter that gets a new version"
        " (default: retrain.adapter)")  # fmt: skip
    retrain.add_argument("--force", action="store_true", help="train however little is new, also"
        " while an earlier version is on trial")  # fmt: skip
    retrain.add_argument("--fresh", action="store_true", help="give up a run that was broken off,"
        " and begin a new one")  # fmt: skip
    retrain.add_argument("--seed", type=seed, default=0, help="of training, replies and intervals"
        " (default: 0)")  # fmt: skip
    add_option(retrain, "trigger", choices=_TRIGGERS, default="command", help="what the run's row"
        " says of who asked for it (default: command)")  # fmt: skip
    add_common(retrain)
    retrain.set_defaults(run=_retrain)


def _retrain(options: argparse.Namespace) -> int:
    config = load(options.config)
    logging.basicConfig(level=config.log.level, format="%(message)s", stream=sys.stderr)
    from finetune.retraining.run import Order, retrain  # only now: it takes seconds to load

    order = Order(
        adapter=options.adapter,
        force=options.force,
        seed=options.seed,
        resume=not options.fresh,
        trigger=options.trigger,
    )
    try:
        run = retrain(config, order)
    except (KeyboardInterrupt, SystemExit) as stopped:
        print("Stopped; python -m finetune retrain goes on from there.", file=sys.stderr)
        if isinstance(stopped, SystemExit):
            raise
        return 128 + signal.SIGINT
    if options.json:
        print(json.dumps(dataclasses.asdict(run), ensure_ascii=False))
    elif run.state != "failed":
        print(sentence(run))
    if run.state == "failed":
        print(sentence(run), file=sys.stderr)
        return 1
    return 0


def sentence(run: Run) -> str:
    """What came of a finished run."""
    report = f" The report is {run.report}/index.html." if run.report else ""
    match run.state:
        case "promoted":
            said = f"{run.challenger} is promoted, after {run.champion}: {run.reason}"
        case "canary":
            said = f"{run.challenger} is on trial beside {run.champion}: {run.reason}"
        case "rejected":
            said = f"{run.challenger} is rejected, {run.champion} stays: {run.reason}"
        case "skipped":
            said = f"Nothing was trained: {run.reason}"
        case _:
            said = run.reason
    return f"{said}{report}"
