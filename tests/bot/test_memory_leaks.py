"""Whatever happens in whatever order, a prompt knows only its own channel, persona and scene."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.command_lines import run_line
from bot.incoming import Place
from bot.memory_commands import Teller
from config import MemorySettings, PromptSettings, SamplingSettings
from db.connection import DatabaseError
from inference.types import Chunk, GenerationRequest
from tests.bot.conftest import Scene, scene_in
from tests.conftest import config_in

PLACES = (
    Place("discord:1", "general", "guild", "discord:99"),
    Place("discord:2", "market", "guild", "discord:99"),
    Place("discord:3", "elsewhere", "guild", "discord:98"),
    Place("discord:4", "Ann", "dm"),
    Place("discord:5", "Bo", "dm"),
)
MARK = re.compile(r"mark(\d)q(mirela|bramble|lore)q(\d+)")
FILLER = "compass of whalebone carved beside northern lighthouse keeper " * 3

events = st.lists(
    st.tuples(
        st.sampled_from(
            ("say", "say", "say", "say", "fact", "pinned", "summary", "note", "lore", "book",
             "reset", "switch")
        ),
        st.integers(0, len(PLACES) - 1),
        st.integers(0, 1),
    ),
    min_size=6,
    max_size=16,
)  # fmt: skip


class World:
    """A company in which every word that is kept says where, to whom and in which scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.personas = ["mirela"] * len(PLACES)
        self.scenes = [0] * len(PLACES)
        self.pinned: set[str] = set()
        self.prompts = 0
        scene.client.generate = self.generate  # type: ignore[method-assign]

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Replies and summaries repeat every mark that they were given."""
        text = "\n".join(message.content for message in request.messages)
        place = next(n for n, p in enumerate(PLACES) if p.key == request.channel.split(" ")[0])
        self.check(text, place)
        self.prompts += 1
        marks = dict.fromkeys(found[0] for found in MARK.finditer(text))
        yield Chunk(text="Told: " + ", ".join(marks) + " and the whalebone compass.")
        yield Chunk(finish_reason="stop", adapter="base")

    def check(self, text: str, place: int) -> None:
        for found in MARK.finditer(text):
            channel, persona, scene = found.groups()
            assert int(channel) == place, found[0]
            if persona != "lore":
                assert persona == self.personas[place], found[0]
                assert found[0] in self.pinned or int(scene) == self.scenes[place], found[0]

    async def happen(self, event: str, place: int, author: int) -> None:
        persona = self.personas[place]
        mark = f"mark{place}q{persona}q{self.scenes[place]}"
        commands = self.scene.behind.commands
        lines = {
            "fact": f"/memory add My {mark} is here.",
            "summary": f"/summary set They saw {mark}.",
            "note": f"/note set Think of {mark}.",
            "lore": f"/lore add compass = mark{place}qloreq0 is old.",
            "reset": "/reset",
            "switch": f"/persona set {'bramble' if persona == 'mirela' else 'mirela'}",
        }
        if event == "say":
            name = ("Ann", "Bo")[author]
            await self.scene.say(
                f"I live by the {mark}. {FILLER}",
                PLACES[place],
                author_key=f"discord:{500 + author}",
                author_name=name,
            )
            await self.scene.settled()
            await self.scene.behind.turns.keeper.idle()
        elif event == "book":
            entry = {"content": f"The mark{place}qloreq1 is old.", "constant": author == 0,
                     "keys": ["compass"]}  # fmt: skip
            with suppress(DatabaseError):  # it is there already
                await commands.lore.import_bytes(
                    PLACES[place],
                    Teller(f"discord:{500 + author}", "Ann", may_switch=True),
                    json.dumps({"entries": [entry], "recursive_scanning": True}).encode(),
                    "town.json",
                )
        elif event == "pinned":
            self.pinned.add(mark)
            added = await run_line(commands, PLACES[place], f"/memory add A pinned {mark}.")
            if found := re.search(r"(\d+)\. ", added.text):
                await run_line(commands, PLACES[place], f"/memory pin {found[1]}")
        else:
            await run_line(commands, PLACES[place], lines[event])
        if event == "note":
            self.pinned.add(mark)  # a note stays until it is taken away
        if event in ("reset", "switch"):
            channel = await self.scene.behind.turns.channel(PLACES[place])
            self.scenes[place] = channel.scene_start
            self.personas[place] = channel.persona or "mirela"


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(events=events)
async def test_nothing_leaks_into_a_prompt(events: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = config_in(
            Path(folder) / "data",
            prompt=PromptSettings(context_tokens=330),
            sampling=SamplingSettings(max_new_tokens=30),
            memory=MemorySettings(summary_tokens=32, recall_threshold=0.1),
        )
        async with scene_in(config) as scene:
            world = World(scene)
            for event, place, author in events:
                await world.happen(event, place, author)
            for place in range(len(PLACES)):
                await world.happen("say", place, 0)
            assert world.prompts >= len(PLACES)
            assert scene.notices == []
