"""Training speed and memory beside alpaca-lora's way of doing it, same rows, same steps.

    python -m benchmarks.training [--data FILE] [--rows N] [--repeats N] [--threads N] [--json]

Each side trains in a process of its own, in turn, so that neither meets the other's memory; speed
is tokens of the rows (no padding) a second of the steps, and of processor time beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, as_json, as_table
from benchmarks.machine import Load, describe, forget_peak, peak_mb
from config import FinetuneSettings, load

SAMPLE = Path(__file__).with_name("data") / "introducing_roleplay.json"
OURS, OURS_FLOAT32, PEER, PEER_BFLOAT16 = "ours", "ours float32", "peer", "peer bfloat16"
SIDES = (OURS, PEER, OURS_FLOAT32, PEER_BFLOAT16)
_BAR, _AIM = 1.5, 2.0


def main(arguments: list[str] | None = None) -> int:
    """Train both ways and print the ratios."""
    options = _parser().parse_args(arguments)
    if options.side:
        print(json.dumps(_trained(options)))
        return 0
    before = Load.here()
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.repeats):
        for side in SIDES:
            runs[side].append(_in_a_process(options, side))
            last = runs[side][-1]
            print(f"{side}: {last['tokens'] / last['seconds']:.0f} tokens/s", file=sys.stderr)
    figures = compared(runs)
    if options.json:
        print(json.dumps(as_json(figures)))
        return 0
    print(f"{describe()}\n{options.rows} rows of {options.data.name}, {runs[OURS][0]['tokens']:.0f}"
          f" tokens, threads {options.threads or 'all'}; others used"
          f" {Load.here().others_since(before):.2f} cores.\n")  # fmt: skip
    print(as_table(figures))
    return 0


def compared(runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Ratios of the medians; each run has `tokens`, `seconds`, `cpu_seconds` and `peak_mb`."""
    return [
        _speed(runs, "training, tokens/s, vs alpaca-lora's way", OURS, PEER, _BAR, _AIM),
        _speed(runs, "the same, both in bfloat16 or the best format", OURS, PEER_BFLOAT16),
        _speed(runs, "the same, both in float32", OURS_FLOAT32, PEER),
        _memory(runs, "peak memory, theirs / ours", OURS, PEER),
        _memory(runs, "the same, both in bfloat16 or the best format", OURS, PEER_BFLOAT16),
    ]


def _speed(
    runs: dict[str, list[dict[str, float]]],
    name: str,
    ours: str,
    peer: str,
    at_least: float | None = None,
    aim: float | None = None,
) -> Figure:
    rate = {side: median(run["tokens"] / run["seconds"] for run in runs[side])
            for side in (ours, peer)}  # fmt: skip
    work = {side: median(run["cpu_seconds"] for run in runs[side]) for side in (ours, peer)}
    detail = (
        f"{rate[ours]:.0f} against {rate[peer]:.0f} tokens/s; by processor time"
        f" {work[peer] / work[ours]:.2f} ×"
    )
    return Figure(name, rate[ours] / rate[peer], at_least, aim, detail)


def _memory(runs: dict[str, list[dict[str, float]]], name: str, ours: str, peer: str) -> Figure:
    most = {side: median(run["peak_mb"] for run in runs[side]) for side in (ours, peer)}
    detail = f"{most[ours]:.0f} against {most[peer]:.0f} MB"
    return Figure(name, most[peer] / most[ours], detail=detail)


def _in_a_process(options: argparse.Namespace, side: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", "--side", side]
    for name in ("config", "data", "rows", "batch", "micro", "threads"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name}", str(value)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as every finetune command has it
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _trained(options: argparse.Namespace) -> dict[str, float]:
    """One side, in this process."""
    from finetune.training.run import prepare_libraries

    prepare_libraries()
    import torch

    from finetune.progress import Progress
    from finetune.training.devices import training_model
    from finetune.training.reading import read_path
    from finetune.training.trainer import encoder_for, learn
    from finetune.training_set import TrainingSet
    from inference.model_loading import load_model

    if options.threads:
        torch.set_num_threads(options.threads)
    config = load(options.config)
    settings = FinetuneSettings(
        num_epochs=1, batch_size=options.batch, micro_batch_size=options.micro, save_steps=0
    )
    changes: dict[str, str] = {"prompt_format": "alpaca"}
    if options.side in (OURS_FLOAT32, PEER):
        changes["dtype"] = "float32"
    elif options.side == PEER_BFLOAT16:
        changes["dtype"] = training_model(config.model).dtype
    model = training_model(config.model.model_copy(update=changes))
    loaded = load_model(model, config.models_dir, on_progress=lambda _: None)
    encoder = encoder_for(loaded, settings)
    examples = read_path(settings, options.data).cut(encoder, loaded.info).train[: options.rows]
    rows = encoder.encode_all(examples)
    forget_peak(loaded.model.device)
    worked = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if options.side in (PEER, PEER_BFLOAT16):
            from benchmarks.peers.alpaca_lora import train

            seconds = train(loaded, rows, settings, Path(folder))
        else:
            with Progress("", shown=False) as progress:
                trained = learn(loaded, TrainingSet(train=examples), settings, seed=0,
                                scratch=Path(folder), progress=progress)  # fmt: skip
            seconds = float(trained.figures["seconds"])
    return {
        "tokens": float(sum(len(row.input_ids) for row in rows)),
        "seconds": seconds,
        "cpu_seconds": time.process_time() - worked,
        "peak_mb": peak_mb(loaded.model.device),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Training speed and memory beside alpaca-lora's way of doing it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, help="a config.toml, for the model to train")
    add("--data", type=Path, default=SAMPLE, help="Alpaca rows")
    add("--rows", type=int, default=32, help="of them to train on, once")
    add("--batch", type=int, default=8, help="rows a step")
    add("--micro", type=int, default=4, help="rows at once")
    add("--repeats", type=int, default=3, help="rounds of all sides; medians are compared")
    add("--threads", type=int, default=0, help="of each side; 0: as torch chooses")
    add("--json", action="store_true", help="one JSON object instead of a table")
    add("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
