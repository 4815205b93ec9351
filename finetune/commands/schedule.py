"""`python -m finetune schedule`: retrain at night, by itself."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from config import DEFAULT_PATH, Config, load


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    schedule = commands.add_parser(
        "schedule",
        help="retrain by itself, at the times of [schedule]",
        description="Stay and run `python -m finetune retrain` whenever it is due: at the times of"
        " schedule.cron, once nobody talks. What was missed while this was not running, or broken"
        " off, is made up for once. In between it looks at how a new version does, and takes it"
        " back if it does badly. SIGTERM stops a training at a checkpoint; it goes on at the next"
        " start. docs/retraining.md says how to set it up.",
        allow_abbrev=False,
    )
    schedule.add_argument(
        "--once",
        action="store_true",
        help="do what is due now, and exit: for cron, which then calls this as often as you like",
    )
    schedule.add_argument("--config", help="the configuration file (default: config.toml)")
    schedule.set_defaults(run=_schedule)


def _schedule(options: argparse.Namespace) -> int:
    config = load(options.config)
    logging.basicConfig(level=config.log.level, format="%(message)s", stream=sys.stderr)
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    from finetune.retraining.service import Service

    file = Path(options.config or DEFAULT_PATH).resolve()
    service = Service(config, retrain_command(file), look)
    return service.once() if options.once else service.serve()


def retrain_command(config_file: Path) -> list[str]:
    """The process that retrains, as a scheduled one."""
    command = [sys.executable, "-m", "finetune", "retrain"]
    return [*command, "--trigger", "schedule", "--config", str(config_file)]


def look(config: Config) -> Sequence[str]:
    """What was done about the versions in use, in sentences."""
    from finetune.retraining.watch import watch

    return [event.said for event in watch(config)]
