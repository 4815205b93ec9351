"""How long it takes to build one turn's prompt from a memory of up to a million messages.

    python -m benchmarks.memory [--messages 10000 100000 1000000] [--turns 300] [--json]

Every channel has 500 messages that lie mixed with all others' in the file, as they would have come
in, a summary of the older ones, facts, lore and a note. A turn is a question about something old;
it is asked in a channel that was not asked before, so nothing is warm but SQLite's own cache.
Measured is `bot.memory.Memory.prompt`: window, summary, facts, recall, lore, within 2,048 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from bot.memory import Memory
from config import Config
from db.database import Database
from inference.types import ModelInfo
from persona_prompts.cast import SHIPPED, Cast

PER_CHANNEL = 500  # messages
SUMMED_UP = 0.84  # of them; the rest is a little more than fits into a prompt, as in a long scene
FACTS, LORE = 15, 20  # of a channel
MEDIAN_BAR, P99_BAR = 0.030, 0.100  # seconds
_WORDS = 20_000  # of the invented language
_MODELS = Path(__file__).parent.parent / "data" / "models"
_INFO = ModelInfo(
    name="benchmark",
    fingerprint="",
    device="cpu",
    dtype="float32",
    context_length=2048,
    prompt_format="chatml",
    message_overhead=5,
    prompt_overhead=5,
    tokenizer_json="",
    summary="",
)


class Counting:
    """A model of which only the tokens are counted, by the embedded model's tokenizer."""

    def __init__(self) -> None:
        [file, *_] = sorted(_MODELS.glob("embedded-*/tokenizer.json"))
        self._tokenizer = Tokenizer.from_file(str(file))
        self.info = _INFO

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds a prompt, of `turns` in a file of `messages`.

    `busy` are seconds of the processor: what the wall clock would say on a machine that nobody
    else uses.
    """

    messages: int
    turns: int
    median: float
    p99: float
    busy_median: float
    busy_p99: float
    recalled: float  # share of the turns in which something was recalled
    megabytes: float
    fill_seconds: float

    def line(self) -> str:
        return (
            f"{self.messages:>9,} messages: median {self.median * 1e3:.1f} ms, p99"
            f" {self.p99 * 1e3:.1f} ms over {self.turns} turns (of the processor"
            f" {self.busy_median * 1e3:.1f} and {self.busy_p99 * 1e3:.1f} ms); recalled in"
            f" {self.recalled:.0%};"
            f" {self.megabytes:,.0f} MB, filled in {self.fill_seconds:.0f} s"
        )


class Language:
    """Invented words, a few of them common and most of them rare (Zipf)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or")]
        self._words = ["".join(self.random.choices(syllables, k=3)) for _ in range(_WORDS)]
        self._weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(_WORDS)))

    def sentence(self, words: int) -> str:
        chosen = self.random.choices(self._words, cum_weights=self._weights, k=words)
        return f"{' '.join(chosen).capitalize()}."


def rows(messages: int, language: Language) -> Iterator[tuple[object, ...]]:
    """Messages of all channels in turn, a person's and a character's one after the other."""
    channels = messages // PER_CHANNEL
    number = 0
    for round_ in range(PER_CHANNEL):
        own = round_ % 2 == 1
        for channel in range(1, channels + 1):
            number += 1
            question = number - channels if own else None
            yield (
                number, channel, "character" if own else "user",
                "persona:mirela" if own else f"discord:{channel % 50}",
                "Captain Mirela Vex" if own else f"Guest {channel % 50}",
                language.sentence(language.random.randint(6, 20)), float(number),
                "mirela" if own else None, question, question,
            )  # fmt: skip


def fill(file: Path, messages: int, language: Language) -> None:
    """Write messages, summaries, facts, lore and notes straight into a migrated file."""
    channels = range(1, messages // PER_CHANNEL + 1)
    with closing(sqlite3.connect(file, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("BEGIN")
        raw.executemany(
            """INSERT INTO channels (id, key, guild_key, name, kind)
               VALUES (?, ?, 'g', 'c', 'guild')""",
            ((channel, f"c:{channel}") for channel in channels),
        )
        raw.executemany(
            """INSERT INTO messages (id, channel_id, role, author_key, author_name, content,
                                     created_at, persona, answers, reply_to)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            rows(messages, language),
        )
        border = int(PER_CHANNEL * SUMMED_UP) * len(channels)
        raw.executemany(
            """INSERT INTO summaries (channel_id, persona, scene_start, told, up_to, written_at)
               VALUES (?, 'mirela', 0, ?, ?, 1.0)""",
            ((channel, language.sentence(90), border) for channel in channels),
        )
        raw.executemany(
            """INSERT INTO facts (channel_id, persona, scene_start, text, author_key, author_name,
                                  created_at) VALUES (?, 'mirela', 0, ?, 'a', 'Ann', 1.0)""",
            ((c, language.sentence(8)) for c in channels for _ in range(FACTS)),
        )
        raw.executemany(
            """INSERT INTO lore (channel_id, keys, text, written_by, written_at)
               VALUES (?, ?, ?, 'a', 1.0)""",
            (
                (c, json.dumps(language.sentence(3)[:-1].split()), language.sentence(15))
                for c in channels
                for _ in range(LORE)
            ),
        )
        raw.executemany(
            "INSERT INTO author_notes VALUES (?, 'mirela', ?, 4, 'a', 1.0)",
            ((channel, language.sentence(10)) for channel in channels),
        )
        raw.execute("COMMIT")


async def measure(folder: Path, messages: int, turns: int, seed: int) -> Measured:
    """Fill a file and build prompts from it."""
    file, language = folder / f"{messages}.sqlite3", Language(seed)
    started = time.perf_counter()
    async with await Database.open(file):
        pass
    fill(file, messages, language)
    config = Config()
    mirela = Cast(SHIPPED).get("mirela")
    times: list[float] = []
    busy: list[float] = []
    recalled = 0
    async with await Database.open(file) as database:
        while await database.recall.catch_up(5000):
            pass
        filled = time.perf_counter() - started
        memory = Memory(config, database, Counting())
        channels = messages // PER_CHANNEL
        for turn in range(turns):
            channel = await database.channels.by_id(1 + (turn * 7919) % channels)
            round_ = language.random.randrange(0, int(PER_CHANNEL * SUMMED_UP), 2)
            old = await database.messages.get(round_ * channels + channel.id)
            assert old is not None
            asked = language.random.sample(old.content[:-1].split(), 3)
            question = await database.messages.add_user(
                channel.id,
                author_key="discord:1",
                author_name="Ann",
                content=f"What about {' '.join(asked)}?",
                created_at=1e9,
                owed=True,
            )
            begun, begun_busy = time.perf_counter(), time.process_time()
            made = await memory.prompt(channel, question, mirela, reply_tokens=220)
            times.append(time.perf_counter() - begun)
            busy.append(time.process_time() - begun_busy)
            recalled += bool(made.recalled.moments)
    return Measured(
        messages=messages,
        turns=turns,
        median=statistics.median(times),
        p99=_percentile(times, 0.99),
        busy_median=statistics.median(busy),
        busy_p99=_percentile(busy, 0.99),
        recalled=recalled / turns,
        megabytes=file.stat().st_size / 1e6,
        fill_seconds=filled,
    )


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def growth(found: Sequence[Measured]) -> float:
    """Largest size over smallest: the ratio of processor times over that of the sizes' logarithms.

    Above 1 a prompt takes longer than logarithmic growth allows.
    """
    small, large = found[0], found[-1]
    allowed = math.log(large.messages) / math.log(small.messages)
    return large.busy_median / small.busy_median / allowed


def main() -> int:
    """0 if all bars hold, those for the median and the tail at the largest size, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--messages", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for messages in sorted(options.messages):
            found.append(asyncio.run(measure(Path(folder), messages, options.turns, options.seed)))
            print(found[-1].line(), file=sys.stderr)
    largest = found[-1]
    grown = growth(found)
    holds = largest.median <= MEDIAN_BAR and largest.p99 <= P99_BAR and grown <= 1
    print(f"growth beside that of the logarithm: {grown:.2f}", file=sys.stderr)
    if options.json:
        sizes = {
            str(m.messages): {
                "median_ms": m.median * 1e3,
                "p99_ms": m.p99 * 1e3,
                "busy_median_ms": m.busy_median * 1e3,
                "busy_p99_ms": m.busy_p99 * 1e3,
            }
            for m in found
        }
        print(json.dumps({"memory": sizes, "growth": grown, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
