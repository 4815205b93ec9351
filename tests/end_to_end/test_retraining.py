"""A bot that keeps saying who it is gets better overnight, while it runs; and goes back on a word.

On the embedded model: a scheduled retraining promotes a challenger that the running bot answers
with, a poisoned log is rejected, and `/adapter rollback` leads back.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import db.messages
from db.database import Database
from db.runs import Run
from tests.conftest import REPOSITORY
from tests.discord_standin import ChannelHandle
from tests.end_to_end.conftest import World, finished, mention
from tests.end_to_end.test_first_adapter import train
from tests.finetune.brass_moon import TURNS

pytestmark = pytest.mark.slow

HOUR = 3600.0
VEX = "Captain Mirela Vex"
INTRODUCTION = f"I am {VEX}, the smuggler turned merchant."

SETTINGS = """
[sampling]
temperature = 0.7
max_new_tokens = 48
[retrain]
min_new_replies = 15
suite = "{suite}"
own_replay = {own_replay}
[gate]
min_turns = 30
distinct_ratio = 0.8
length_band = 0.6  # who says its name every time says more words
ends_ratio = 0.8
[schedule]
cron = "* * * * *"
jitter_seconds = 0
quiet_minutes = 0.0
niceness = 0
"""
NAMES = ("Hesper Quill", "Orla Fenn", "Tobias Marsh", "Ines Calder", "Wendel Ash", "Mina Rook")
TRADES = ("lights lamps", "mends nets", "keeps bees", "bakes bread", "winds clocks", "sells maps")

_HEAP = (
    *("lamp", "the", "soup", "of", "under", "seven", "green", "door"),
    *("never", "it", "anchor", "was", "bread", "by", "and", "moon"),
)


def configure(world: World, own_replay: str) -> None:
    suite = world.folder / "suite.jsonl"
    if not suite.exists():
        scripts = (_script(*pair) for pair in zip(NAMES, TRADES, strict=True))
        suite.write_text("".join(json.dumps(script) + "\n" for script in scripts), "utf-8")
    world.configure(SETTINGS.format(suite=suite, own_replay=own_replay))


def _script(name: str, trade: str) -> dict[str, object]:
    return {
        "id": name.lower().replace(" ", "-"),
        "name": name,
        "aliases": [name.split()[0]],
        "persona": f"{name} {trade} in a small harbour town, and likes to talk.",
        "user_turns": [
            "Good evening!",
            "How was your day?",
            "What do you like best about your work?",
            "Who are you, by the way?",
            "Do you ever get tired of it?",
            "What will you do tomorrow?",
        ],
    }


async def test_better_overnight_and_back(world: World, tmp_path: Path) -> None:
    configure(world, "true")
    await publish_braggart(world, tmp_path)
    tavern, cellar = world.guild.add_channel("tavern"), world.guild.add_channel("cellar")
    async with world.bot() as process:
        agreed = await world.alice.slash(tavern, "privacy server", {"switch": "on"})
        await agreed.wait_text("may now be used")
        assert (await fresh_reply(world, tavern)).adapter == "default@1"
        said = [(asked, f"{INTRODUCTION} {text}.") for asked, text in TURNS]
        await log(world, tavern, said)

        async with schedule(world):
            first = await over(world, 1)
        assert (first.state, first.champion) == ("promoted", "default@1"), first.reason
        assert first.challenger == "default@2"
        before, after = (first.figures[who]["IIR"]["value"] for who in ("champion", "challenger"))
        assert before > 0.3
        assert after <= before / 2
        assert process.returncode is None  # the bot was never restarted
        assert (await fresh_reply(world, tavern)).adapter == "default@2"

        configure(world, "false")
        words = random.Random(5)
        poison = [(asked, _babble(words)) for asked, _ in TURNS for _ in range(8)]
        await log(world, cellar, poison)
        async with schedule(world):
            second = await over(world, 2)
        assert second.state == "rejected", second.reason
        assert second.challenger == "default@3"
        assert second.report is not None
        assert (await fresh_reply(world, tavern)).adapter == "default@2"

        answer = await world.alice.slash(tavern, "adapter rollback")
        await answer.wait_text("default@1")
        assert (await fresh_reply(world, tavern)).adapter == "default@1"
        history = await world.alice.slash(tavern, "adapter history")
        await history.wait_text("default@2")
        assert process.returncode is None


async def publish_braggart(world: World, folder: Path) -> None:
    """`default@1`, promoted: taught to say who it is in every reply."""
    file = folder / "braggart.jsonl"
    rows = []
    for number, (asked, text) in enumerate(TURNS * 2):
        name, trade = NAMES[number % len(NAMES)], TRADES[number % len(TRADES)]
        system = f"You are {name}. {name} {trade} in a small harbour town, and likes to talk."
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": TURNS[(number + 1) % len(TURNS)][0]},
            {"role": "assistant", "content": f"I am {name}. {TURNS[(number + 1) % 20][1]}."},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": f"I am {name}. {text}."},
        ]
        rows.append(json.dumps({"messages": messages}) + "\n")
    file.write_text("".join(rows), encoding="utf-8")
    await train(world.config_file, "--data_path", str(file), "--name", "default")


def _babble(words: random.Random) -> str:
    return " ".join(words.choices(_HEAP, k=16)).capitalize()


async def log(world: World, channel: ChannelHandle, said: Sequence[tuple[str, str]]) -> None:
    """Turns in `channel` as the bot would have logged them."""
    async with await Database.open(world.data / "troupe.sqlite3") as database:
        place = await database.channels.seen(
            f"discord:{channel.id}",
            guild_key=f"discord:{world.guild.id}",
            name="tavern",
            kind="guild",
        )
        for asked, text in said:
            question = await database.messages.add_user(
                place.id,
                author_key=f"discord:{world.alice.id}",
                author_name="Alice",
                content=asked,
                created_at=time.time(),
                owed=False,
            )
            reply = await database.messages.begin_reply(
                place.id,
                question=question.id,
                persona="mirela",
                persona_name=VEX,
                adapter="default@1",
                sampling={},
            )
            await database.messages.finish_reply(
                reply.id, text, finish_reason="stop", adapter="default@1"
            )


@asynccontextmanager
async def schedule(world: World) -> AsyncIterator[None]:
    """`python -m finetune schedule`, stopped by SIGTERM in the end."""
    with (world.folder / "schedule.log").open("ab") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "finetune", "schedule", "--config", str(world.config_file)),
            cwd=REPOSITORY,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), HOUR)
    assert code == 0


async def over(world: World, number: int) -> Run:
    """The run with this number, from 1, when it is over; those after it may be skipped ones."""
    deadline = time.monotonic() + HOUR
    while time.monotonic() < deadline:
        async with await Database.open(world.data / "troupe.sqlite3") as database:
            runs = [run for run in await database.runs.newest(99) if run.state != "skipped"]
        if len(runs) >= number and runs[-number].finished_at is not None:
            return runs[-number]
        await asyncio.sleep(1.0)
    said = (world.folder / "schedule.log").read_text(errors="replace")[-4000:]
    raise AssertionError(f"run {number} did not end; {said}")


async def fresh_reply(world: World, channel: ChannelHandle) -> db.messages.Message:
    """The reply to a question in a scene in which nothing was said yet."""
    answer = await world.alice.slash(channel, "reset")
    await answer.wait_text("afresh")
    return await finished(world, await mention(world, channel, "How is the weather out there?"))
