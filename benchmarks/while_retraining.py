"""How long a channel waits for the first word while a retraining runs on the same machine.

    python -m benchmarks.while_retraining [--nights DIR] [--replies N] [--json]

The bot's inference client answers one question after another, first alone and then beside
`python -m finetune retrain --force` on a copy of what `benchmarks.three_nights` left. What was
asked is put down to the stage that the run's row named then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Figure, as_json, as_table
from benchmarks.machine import Load, describe
from benchmarks.three_nights import DATA, PERSONAS, settings
from benchmarks.workload import SAMPLE, read_chats
from config import Config, load
from db.database import Database
from inference.client import InferenceClient
from inference.types import GenerationRequest, InferenceError, Sampling

_CHANNELS = 8
_REPLY_TOKENS = 48
_PAUSE_SECONDS = 2.0  # between two questions, on average
_STAGES = ("train", "evaluate")  # which take a model and nearly all of the time
_SHORT = "[finetune]\nnum_epochs = 0.3\n"  # of a training only its first minutes are needed
_LONGEST_SECONDS = 3600.0


async def measured(config: Config, config_file: Path, replies: int) -> dict[str, list[float]]:
    """Seconds to the first word of `replies` replies, alone (`idle`) and in each stage."""
    client = InferenceClient(config)
    await client.start()
    try:
        asking = _Asking(client, config.retrain.adapter)
        await asking.once()  # the first reply of all loads the adapter
        waits: defaultdict[str, list[float]] = defaultdict(list)
        waits["idle"] = [await asking.once() for _ in range(replies)]
        async with _retraining(config_file) as process, asyncio.timeout(_LONGEST_SECONDS):
            while process.returncode is None and any(len(waits[s]) < replies for s in _STAGES):
                stage = await _stage(config)
                wait = await asking.once()
                if stage in _STAGES and await _stage(config) == stage:
                    waits[stage].append(wait)
        return waits
    finally:
        await client.close()


class _Asking:
    """People in a few channels, one of whom asks at a time."""

    def __init__(self, client: InferenceClient, adapter: str) -> None:
        self._client = client
        self._adapter = adapter
        self._chats = read_chats(SAMPLE, _CHANNELS)
        self._asked = 0
        self._dice = random.Random(0)

    async def once(self) -> float:
        """Seconds from a question to the first word of its reply, after a pause."""
        await asyncio.sleep(self._dice.expovariate(1 / _PAUSE_SECONDS))
        number, self._asked = self._asked, self._asked + 1
        channel, chat = number % _CHANNELS, self._chats[number % _CHANNELS]
        evening, turn = divmod(number // _CHANNELS, chat.turns)
        # told apart by their text, or the second evening would find all of the first in the cache
        chat = replace(chat, persona=f"This is evening {evening}. {chat.persona}")
        messages = chat.messages(turn)
        scene = f"{channel}-{evening}"
        request = GenerationRequest(
            messages=messages,
            adapter=self._adapter,
            sampling=Sampling(max_new_tokens=_REPLY_TOKENS, seed=number),
            guild=scene,
            channel=scene,
            user=scene,
        )
        asked, first = time.perf_counter(), None
        async with aclosing(self._client.generate(request)) as chunks:
            async for chunk in chunks:
                if chunk.error:
                    raise InferenceError(chunk.error)
                if first is None:
                    first = time.perf_counter()
        if first is None:
            raise InferenceError("A reply came without one chunk.")
        return first - asked


@asynccontextmanager
async def _retraining(config_file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "finetune", "retrain", "--force", "--seed", "99"),
        *("--config", str(config_file)),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _stage(config: Config) -> str:
    """What the newest run is at; empty if it is over."""
    async with await Database.open(config.database_file) as database:
        [*runs] = await database.runs.newest(1)
    return runs[0].stage if runs and runs[0].state == "running" else ""


def compared(waits: dict[str, list[float]]) -> list[Figure]:
    """The share of idle's waiting that is left, so that 1 would be no cost at all."""
    idle = waits["idle"]
    found = []
    for stage in _STAGES:
        if not waits.get(stage):
            continue
        for share in (0.5, 0.95):
            alone, beside = quantile(idle, share), quantile(waits[stage], share)
            detail = f"{alone * 1000:.0f} ms alone, {beside * 1000:.0f} ms beside it"
            count = f"{len(idle)} and {len(waits[stage])} replies"
            name = f"time to first token, p{share * 100:.0f}, alone / beside the stage {stage}"
            found.append(Figure(name, alone / beside, detail=f"{detail}; {count}"))
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def main() -> int:
    """Measure, and print the figures."""
    options = _parser().parse_args()
    nights: Path = options.nights
    if not (nights / DATA).is_dir():
        print(f"There are no nights in {nights}; run python -m benchmarks.three_nights first.",
              file=sys.stderr)  # fmt: skip
        return 2
    before = Load.here()
    with tempfile.TemporaryDirectory(dir=nights.parent) as folder:
        copy, file = Path(folder) / DATA, Path(folder) / "config.toml"
        shutil.copytree(nights / DATA, copy, symlinks=True)
        file.write_text(settings(copy, nights / PERSONAS) + _SHORT)
        try:
            waits = asyncio.run(measured(load(file), file, options.replies))
        except InferenceError as error:
            print(error, file=sys.stderr)
            return 2
    figures = compared(waits)
    if options.json:
        print(json.dumps(as_json(figures)))
        return 0
    others = Load.here().others_since(before)
    print(f"{describe()}\nnice: {os.nice(0)} here; other processes used {others:.2f} cores.\n")
    print(as_table(figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="The time to the first word while a retraining runs beside the bot.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--nights", type=Path, default=Path("data/three_nights"),
        help="the work folder of benchmarks.three_nights")  # fmt: skip
    add("--replies", type=int, default=60, help="of each kind")
    add("--json", action="store_true", help="one JSON object instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
