"""`python -m finetune prepare`: the database or files into a training set."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from config import Config, FinetuneSettings, PrepareSettings, explain, load
from finetune.commands.arguments import add_common, add_option, reader, seed
from finetune.errors import InputError

if TYPE_CHECKING:
    from finetune.preparing.journal import Journal
    from finetune.sources.dialogue import Dialogue
    from finetune.training_set import TrainingSet

_FORMATS = ("auto", "alpaca", "openai", "sharegpt", "discord", "sillytavern", "character_ai")
_TRAINING = ("cutoff_len", "replies_per_example")


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    parser = commands.add_parser(
        "prepare",
        help="make a training set of the bot's database or of files",
        description="Turn what was said into a training set: cut into dialogues, scrubbed of"
        " personal data, filtered, split into training and validation. Without --channel and"
        " --data_path it takes every channel whose server agreed (/privacy server on). What is not"
        " given here comes from the section [prepare] of the configuration.",
        allow_abbrev=False,
    )
    source = parser.add_argument_group("sources")
    source.add_argument(
        "--channel",
        action="append",
        metavar="KEY",
        help="a channel of the database: discord:123, terminal:main or a bare Discord id;"
        " repeatable",
    )
    add_option(source, "all_channels", action="store_true", help="every channel that agreed; the"
        " default without --data_path")  # fmt: skip
    add_option(
        source,
        "data_path",
        action="append",
        type=Path,
        metavar="FILE",
        help="a file of dialogues instead of the database; repeatable",
    )
    source.add_argument("--format", choices=_FORMATS, default="auto", help="of the files; auto"
        " looks at the first row (default: auto)")  # fmt: skip
    source.add_argument("--persona", metavar="ID", help="the character who speaks in the files,"
        " whose card then stands at the top (default: by the bot's name)")  # fmt: skip
    add_option(source, "bot_name", action="append", metavar="NAME", help="an author of a Discord"
        " export who is a character (default: those marked as bots); repeatable")  # fmt: skip
    source.add_argument("--since", type=_date, metavar="DATE", help="leave out what was said"
        " before, like 2026-11-21 or 2026-11-21T18:00 (UTC)")  # fmt: skip
    replay = parser.add_argument_group("public dialogue mixed in")
    replay.add_argument("--replay", type=Path, metavar="FILE", help="a file of any format")
    add_option(replay, "replay_licence", default="", metavar="TEXT", help="what the file may be"
        " used for; recorded with the adapter")  # fmt: skip
    add_option(replay, "replay_attribution", default="", metavar="TEXT", help="whose it is;"
        " recorded with the adapter")  # fmt: skip
    made = parser.add_argument_group("the training set")
    add_option(made, "output_dir", type=Path, required=True, metavar="DIR", help="where it is"
        " written; a training set that is there is replaced")  # fmt: skip
    made.add_argument("--pii", action="store_true", help="also replace names and places that"
        " presidio finds in English texts")  # fmt: skip
    made.add_argument("--seed", type=seed, default=0, help="for where drills stand (default: 0)")
    for section, names in ((PrepareSettings, None), (FinetuneSettings, _TRAINING)):
        for name, field in section.model_fields.items():
            if names is None or name in names:
                add_option(
                    made,
                    name,
                    metavar=name.rpartition("_")[2].upper(),
                    type=reader(field.annotation),
                    help=f"{field.description} (default: {field.get_default()})".replace("%", "%%"),
                )
    add_common(parser)
    parser.set_defaults(run=_prepare)


def _date(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a date like 2026-11-21 or 2026-11-21T18:00"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _settings(section: Any, present: Any, options: argparse.Namespace) -> Any:
    given = {name: getattr(options, name, None) for name in section.model_fields}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return section.model_validate({**present.model_dump(), **changes})
    except ValidationError as error:
        raise InputError(explain(error)) from None


def _prepare(options: argparse.Namespace) -> int:
    config = load(options.config)
    settings: PrepareSettings = _settings(PrepareSettings, config.prepare, options)
    finetune: FinetuneSettings = _settings(FinetuneSettings, config.finetune, options)
    _check(options)
    from finetune.preparing.entities import Entities
    from finetune.preparing.pipeline import prepare
    from finetune.preparing.pseudonyms import Pseudonyms, pseudonym_key
    from finetune.preparing.replay import read_replay
    from finetune.preparing.tokenizing import configured_tokens
    from finetune.training_set import check_place, write_training_set

    check_place(options.output_dir)
    replay = None
    if options.replay is not None:
        replay = read_replay(options.replay, options.replay_licence, options.replay_attribution)
    dialogues, journal, origin = _sources(config, options)
    entities = Entities() if options.pii else None
    made = prepare(
        dialogues,
        settings,
        configured_tokens(config, finetune),
        pseudonyms=Pseudonyms(pseudonym_key(config.paths.data)),
        entities=entities,
        replay=replay,
        journal=journal,
        origin=origin,
        seed=options.seed,
    )
    write_training_set(made, options.output_dir)
    print(journal.table(), file=sys.stderr)
    _print(made, options)
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.data_path and (options.channel or options.all_channels):
        raise InputError(
            "--data_path takes files and --channel the database; prepare them one after the other."
        )
    if options.channel and options.all_channels:
        raise InputError("--all_channels takes every channel; leave out --channel.")
    if not options.data_path:
        for name in ("persona", "bot_name"):
            if getattr(options, name):
                raise InputError(f"--{name} is for files; the database knows who spoke.")
    if options.replay is None and (options.replay_licence or options.replay_attribution):
        raise InputError("--replay_licence and --replay_attribution belong to --replay FILE.")


def _sources(
    config: Config, options: argparse.Namespace
) -> tuple[list[Dialogue], Journal, dict[str, Any]]:
    from finetune.preparing.channels import origin, read_log, reading
    from finetune.preparing.journal import Journal, size_of

    if not options.data_path:
        log = read_log(config, options.channel, since=options.since)
        about = origin("database", log.keys, refused=len(log.refused))
        return list(log.dialogues), reading(log), about
    dialogues = _files(config, options)
    journal = Journal()
    size = size_of(dialogues)
    journal.record("read", size, size, {"files": len(options.data_path)})
    names = [file.name for file in options.data_path]
    return dialogues, journal, origin("files", names, format=options.format)


def _files(config: Config, options: argparse.Namespace) -> list[Dialogue]:
    from finetune.sources.channel_log import opted_out
    from finetune.sources.formats import read_source, since
    from persona_prompts.cast import SHIPPED, Cast

    cast = Cast(SHIPPED, config.paths.personas)
    persona = cast.get(options.persona) if options.persona else None
    refused = asyncio.run(opted_out(config))
    found: list[Dialogue] = []
    for file in options.data_path:
        found += read_source(
            file,
            options.format,
            cast=cast,
            persona=persona,
            bot_names=options.bot_name or (),
            opted_out=refused,
        )
    if options.since is not None:
        found = since(found, options.since)
    if not any(dialogue.replies for dialogue in found):
        names = ", ".join(str(file) for file in options.data_path)
        raise InputError(
            f"{names}: nothing in it is a reply of a character; name who is one with --bot_name, or"
            " the file's --format."
        )
    return found


def _print(made: TrainingSet, options: argparse.Namespace) -> None:
    report = made.report
    if report["split"]["note"]:
        print(f"Split by {report['split']['by']}: {report['split']['note']}.", file=sys.stderr)
    if options.json:
        print(json.dumps({"folder": str(options.output_dir), **report}, ensure_ascii=False))
        return
    pairs, votes = len(made.pairs), len(made.votes)
    print(
        f"Wrote {options.output_dir}: {len(made.train)} examples to train and"
        f" {len(made.validation)} to validate, {pairs} preference pairs, {votes} votes,"
        f" {len(made.unwanted)} replies with unwanted parts. Next: python -m finetune train"
        f" --data_path {options.output_dir}"
    )
