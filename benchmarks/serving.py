"""`python -m benchmarks.serving`: our engine beside what a user would take instead.

Peers run in the same run on the same machine: transformers and peft in turn with us, llama.cpp and
vLLM after us, in processes of their own. Every ratio is larger where we are
better: where the bar is "at most 1.3 times", the row is the inverse and its bar 1/1.3.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from benchmarks import gpu_rows, machine
from benchmarks.figures import Figure, as_json, as_table
from benchmarks.workload import SAMPLE
from config import ModelSettings

ROOT = Path(__file__).parent.parent
_NO_GPU = "no CUDA device here; run with --device cuda where there is one"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    logging.basicConfig(level=logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(prefix="troupe-bench-") as folder:
        figures = _measure(options, Path(folder))
    if options.json:
        print(json.dumps(as_json(figures)))
        return 0
    print(f"{machine.describe()}\n")
    print(as_table(figures))
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> list[Figure]:
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device; leave out --device cuda.")
    if device.type == "cuda" or options.shape:
        return [
            figure
            for shape in options.shape or ["7b", "13b"]
            for form in options.format or gpu_rows.FORMATS
            for figure in gpu_rows.measure_shape(
                shape, form, device, folder, steps=options.steps, repeats=options.repeats
            )
        ]
    figures = _measure_cpu(options, folder)
    return figures if options.quick else [*figures, *gpu_rows.unmeasured(_NO_GPU)]


def _measure_cpu(options: argparse.Namespace, folder: Path) -> list[Figure]:
    from benchmarks.cpu_rows import CpuRows, Plan
    from inference.model_loading import load_model

    models = ROOT / "data" / "models"
    loaded = load_model(ModelSettings(device="cpu"), models, on_progress=lambda _: None)
    plan = Plan(
        loaded=loaded,
        folder=folder,
        models=models,
        dialogues=options.dialogues,
        form=options.weight_format,
        threads=options.threads,
        peer_threads=options.peer_threads or os.cpu_count() or 1,
        steps=options.steps,
        repeats=options.repeats,
        reply_tokens=options.reply_tokens,
        positions=options.positions,
        vllm=options.vllm_python,
        llama_cpp=options.llama_cpp_python,
    )
    return CpuRows(plan).measure(peers=not options.quick)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer repeats: within five minutes")
    add("--json", action="store_true", help="print one JSON object of ratios, nothing else")
    add("--dialogues", type=Path, default=SAMPLE, help="CSV as Synthetic-Persona-Chat's")
    add("--device", default="cpu", help="cpu or cuda")
    add("--shape", action="append", choices=["tiny", "7b", "13b"], help="random weights")
    add("--format", action="append", choices=gpu_rows.FORMATS, help="of --shape; default all")
    add("--weight-format", default="auto", choices=["auto", "float32", "bfloat16", "int8"])
    add("--threads", type=int, default=0, help="of the engine; 0: the worker's default")
    add("--peer-threads", type=int, default=0, help="of the peers; 0: all cores")
    add("--steps", type=int, default=0, help="decode steps a measurement; 0: 30, quick 12")
    add("--repeats", type=int, default=0, help="rounds over all peers; 0: 6, quick 2")
    add("--reply-tokens", type=int, default=0, help="of each turn; 0: 32, quick 16")
    add("--positions", type=int, default=0, help="of the quality rows; 0: 2000, quick 500")
    peers = ROOT / ".peers"
    add("--vllm-python", type=Path, default=peers / "vllm" / "bin" / "python")
    add("--llama-cpp-python", type=Path, default=peers / "llama-cpp" / "bin" / "python")
    options = parser.parse_args(arguments)
    defaults = {"steps": (12, 30), "repeats": (2, 6), "reply_tokens": (16, 32),
                "positions": (500, 2000)}  # fmt: skip
    for name, (quick, full) in defaults.items():
        if not getattr(options, name):
            setattr(options, name, quick if options.quick else full)
    return options


if __name__ == "__main__":
    sys.exit(main())
