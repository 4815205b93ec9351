"""`python -m finetune example`: an example as the model sees it, and which of it is learnt."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

from config import load
from finetune.commands.arguments import add_common, add_option, seed
from finetune.commands.train import add_settings, add_source, settings_of
from finetune.errors import InputError

if TYPE_CHECKING:
    from finetune.dataset import Encoded

_GREY, _PLAIN = "\x1b[2m", "\x1b[0m"
_OPEN, _CLOSE = "⟦", "⟧"


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    example = commands.add_parser(
        "example",
        help="show examples as they are taught",
        description="Show examples as train would teach them: what is learnt stands out, what is"
        " only read is dimmed on a terminal and stands between ⟦ and ⟧ elsewhere.",
        allow_abbrev=False,
    )
    add_source(example)
    add_option(example, "base_model", metavar="MODEL", help="instead of model.base")
    example.add_argument("--row", type=int, default=1, help="the first example shown (default: 1)")
    example.add_argument("--count", type=int, default=1, help="how many (default: 1)")
    example.add_argument("--seed", type=seed, default=0, help="as for train (default: 0)")
    add_common(example)
    add_settings(example)
    example.set_defaults(run=_example)


def _example(options: argparse.Namespace) -> int:
    config = load(options.config)
    settings = settings_of(config, options)
    from finetune.training.looking import encoded_examples

    found, tokenizer = encoded_examples(
        config,
        settings,
        channel=options.channel,
        data_path=options.data_path,
        base_model=options.base_model,
        seed=options.seed,
    )
    if not 1 <= options.row <= len(found):
        raise InputError(
            f"There is no example {options.row}: there are {len(found)}; give --row another number."
        )
    chosen = found[options.row - 1 : options.row - 1 + max(1, options.count)]
    if options.json:
        print(json.dumps({"examples": [_figures(one, tokenizer) for one in chosen]}))
        return 0
    colour = sys.stdout.isatty()
    for number, one in enumerate(chosen, start=options.row):
        kind = "unlearns" if one.unwanted else "learns"
        print(
            f"Example {number} of {len(found)}: {len(one.input_ids)} tokens, {kind}"
            f" {one.taught_tokens}."
        )
        print(marked(one, tokenizer, colour=colour))
    return 0


def marked(one: Encoded, tokenizer: Any, *, colour: bool) -> str:
    """The example's text, what carries no loss dimmed, or between ⟦ and ⟧."""
    from finetune.dataset import IGNORE_INDEX

    before, after = (_GREY, _PLAIN) if colour else (_OPEN, _CLOSE)
    pieces = []
    pairs = zip(one.input_ids, one.labels, strict=True)
    for masked, run in itertools.groupby(pairs, key=lambda pair: pair[1] == IGNORE_INDEX):
        text = tokenizer.decode([token for token, _ in run], skip_special_tokens=False)
        pieces.append(f"{before}{text}{after}" if masked else text)
    return "".join(pieces)


def _figures(one: Encoded, tokenizer: Any) -> dict[str, Any]:
    return {
        "tokens": len(one.input_ids),
        "learnt": one.taught_tokens,
        "unwanted": one.unwanted,
        "text": marked(one, tokenizer, colour=False),
        "input_ids": one.input_ids,
        "labels": one.labels,
    }
