"""`python -m finetune export`: base and adapter as one model for other programs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from config import load
from finetune.commands.arguments import add_common, add_option


def add_parser(commands: Any) -> None:
    """Add this command to the parsers of `python -m finetune`."""
    from finetune.exporting.run import DTYPES, SHARD_SIZE, Format

    export = commands.add_parser(
        "export",
        help="merge an adapter into the base, for other programs",
        description="Merge an adapter into the base model and write it for other programs: a"
        " Hugging Face folder, Meta's consolidated.00.pth with params.json, one GGUF file for"
        " llama.cpp, or the adapter alone for llama.cpp's --lora. What was written is loaded again"
        " and must say what base and adapter say, else nothing is left. It takes memory for the"
        " whole model in 32-bit numbers (a LLaMA of 7B: 28 GB); with model.dtype or"
        " model.device in the configuration it takes what they say.",
        allow_abbrev=False,
    )
    export.add_argument(
        "--adapter",
        required=True,
        metavar="NAME[@V]",
        help="the adapter, or one version of it; base is the model without any",
    )
    export.add_argument("--format", required=True, choices=get_args(Format), help="what to write")
    add_option(
        export,
        "output_dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new or an empty folder; it appears when all is written and verified",
    )
    export.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", *DTYPES),
        help="the type of the weights (default: the base's own, and 16 bits for GGUF)",
    )
    add_option(
        export,
        "shard_size",
        metavar="SIZE",
        help=f"most bytes in one file of a Hugging Face folder, as 500MB (default: {SHARD_SIZE})",
    )
    add_common(export)
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from finetune.exporting.run import Order, export

    order = Order(
        adapter=options.adapter,
        format=options.format,
        output_dir=options.output_dir,
        dtype=options.dtype,
        shard_size=options.shard_size,
    )
    done = export(load(options.config), order)
    figures = done.verification.figures()
    if options.json:
        result = {
            "adapter": done.label,
            "format": order.format,
            "folder": str(done.folder),
            "files": done.files(),
            "dtype": done.dtype,
            "verified": figures,
        }
        print(json.dumps(result, ensure_ascii=False))
    else:
        size = sum(done.files().values()) / 1e6
        print(
            f"Exported {done.label} to {done.folder}: {order.format}, {done.dtype}, {size:.0f} MB."
            f" Read back, its logits are {figures['distance']:.1g} standard deviations from base"
            f" and adapter ({figures['tolerance']:.1g} allowed)."
        )
    return 0
