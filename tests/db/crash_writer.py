"""Run as a process by test_crash: says in a line what the database acknowledged, until killed."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from db.database import Database
from tests.db.conftest import ask, begin


async def write(file: Path, name: str) -> None:
    async with await Database.open(file, busy_timeout_seconds=60) as database:
        channel = await database.channels.seen(
            f"terminal:{name}", guild_key=None, name=name, kind="terminal"
        )
        for number in itertools.count():
            content = f"{name} {number} " + "x" * 500
            question = await ask(database, channel, content)
            print(f"asked {question.id}", flush=True)
            reply = await begin(database, channel, question.id)
            await database.messages.show(reply.id, content)
            print(f"shown {reply.id}", flush=True)
            await database.messages.finish_reply(
                reply.id, content, finish_reason="stop", adapter="base"
            )
            print(f"finished {reply.id}", flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
