"""Recall by meaning in the turn: it finds what shares no word, and holds nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from bot import likeness as module
from bot.likeness import Likeness
from config import Config, MemorySettings
from inference.embedder import EmbeddingError
from tests.bot.conftest import DIRECT, GENERAL, MARKET, Scene, scene_in
from tests.bot.remembering import SHORT, ask, last_prompt, said, talk

COMPASS = "Grandfather carved a compass of whalebone."
QUESTION = "Who made that navigation instrument?"
_MEANINGS = {"compass": 0, "instrument": 0, "sea": 1, "ship": 1}


class ByMeaning:
    """Vectors that point where the words of `_MEANINGS` do, and elsewhere for every other text."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: EmbeddingError | None = None
        self.batches: list[list[str]] = []
        self.closed = False

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        self.batches.append(list(texts))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [self._vector(text) for text in texts]

    async def close(self) -> None:
        self.closed = True
        self.error = EmbeddingError("closed")
        self.gate.set()

    def _vector(self, text: str) -> bytes:
        found = {_MEANINGS[word] for word in _MEANINGS if word in text.lower()}
        vector = bytearray(384)
        for place in found or {3 + sum(text.encode()) % 300}:
            vector[place] = 127
        return bytes(vector)


@asynccontextmanager
async def company_of(config: Config, embedder: ByMeaning) -> AsyncIterator[Scene]:
    """A company whose memory has `embedder`."""

    def make(settings: MemorySettings, database: object) -> Likeness:
        return Likeness(settings, database, embedder)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.memory.Likeness", make)
        async with scene_in(config) as scene:
            yield scene


@pytest.fixture
def embedder() -> ByMeaning:
    return ByMeaning()


@pytest.fixture
def short(make_config: Callable[..., Config]) -> Config:
    return make_config(**{**SHORT, "memory": MemorySettings(summary=False)})


@pytest.fixture
async def scene(short: Config, embedder: ByMeaning) -> AsyncIterator[Scene]:
    async with company_of(short, embedder) as opened:
        yield opened


async def test_what_shares_no_word_is_recalled_and_told(scene: Scene) -> None:
    await ask(scene, COMPASS, "A treasure.")
    await talk(scene, 7)
    assert "whalebone" not in last_prompt(scene)
    await ask(scene, QUESTION, "He did.")
    assert f"[Earlier: Ann said: {COMPASS}]" in last_prompt(scene)
    why = await said(scene, "/memory why")
    assert f"recalled: alike 1.00 Ann: {COMPASS}" in why


async def test_both_reasons_are_told(scene: Scene) -> None:
    await ask(scene, COMPASS, "A treasure.")
    await talk(scene, 7)
    await ask(scene, "Show me the compass of whalebone.", "Here.")
    assert "% (compass, whalebone), alike 1.00 Ann: Grand" in await said(scene, "/memory why")


async def test_what_is_less_alike_is_left_out_and_told(
    make_config: Callable[..., Config], embedder: ByMeaning
) -> None:
    settings = MemorySettings(summary=False, recall_similarity=0.8)
    async with company_of(make_config(**{**SHORT, "memory": settings}), embedder) as scene:
        await ask(scene, "My compass fell into the sea.", "Oh.")  # half of it is the sea
        await talk(scene, 7)
        await ask(scene, QUESTION, "He did.")
        assert "Earlier:" not in last_prompt(scene)
        assert "not near enough: alike 0.71 Ann: My compass" in await said(scene, "/memory why")


async def test_nothing_is_recalled_from_elsewhere(scene: Scene) -> None:
    await ask(scene, COMPASS, "A treasure.", DIRECT)
    await ask(scene, COMPASS, "A treasure.", GENERAL)
    await talk(scene, 7, MARKET)
    await ask(scene, QUESTION, "What?", MARKET)
    assert "whalebone" not in last_prompt(scene)
    await said(scene, "/reset")
    await talk(scene, 7)
    await ask(scene, QUESTION, "What?")
    assert "whalebone" not in last_prompt(scene), "the scene before"


async def test_what_was_deleted_or_forgotten_is_not_recalled(scene: Scene) -> None:
    await ask(scene, COMPASS, "A treasure.", post_id=7)
    await ask(scene, "My instrument sings.", "It does.", author_key="discord:9", author_name="Bo")
    await talk(scene, 7)
    await scene.behind.turns.deleted(GENERAL.key, 7)
    await scene.behind.turns.forget("discord:9")
    await ask(scene, QUESTION, "Nobody.")
    assert "Earlier:" not in last_prompt(scene)


async def test_a_slow_model_holds_up_no_reply(
    scene: Scene, embedder: ByMeaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    await ask(scene, COMPASS, "A treasure.")
    await talk(scene, 7)
    embedder.gate.clear()
    await scene.say(QUESTION)
    await scene.settled()
    assert scene.replies[-1].startswith("You said")
    assert "Earlier:" not in last_prompt(scene)
    embedder.gate.set()
    await scene.behind.turns.keeper.idle()


async def test_a_failing_model_leaves_words(
    scene: Scene, embedder: ByMeaning, caplog: pytest.LogCaptureFixture
) -> None:
    embedder.error = EmbeddingError("The embeddings failed: the process ended.")
    await ask(scene, COMPASS, "A treasure.")
    await talk(scene, 7)
    await ask(scene, "Where is the compass of whalebone?", "Here.")
    assert "whalebone" in last_prompt(scene)
    assert "found by words alone: The embeddings failed" in caplog.text
    embedder.error = None
    await ask(scene, "Go on.", "Yes.")
    await ask(scene, QUESTION, "He did.")
    assert f"Ann said: {COMPASS}" in last_prompt(scene), "what waited has its vector now"


async def test_what_an_earlier_run_said_is_found_after_a_restart(
    make_config: Callable[..., Config], short: Config, embedder: ByMeaning
) -> None:
    async with scene_in(short) as without:  # the extra was not installed then
        await ask(without, COMPASS, "A treasure.")
        await talk(without, 7)
    async with company_of(short, embedder) as scene:
        scene.posts = 500
        await scene.behind.turns.keeper.idle()
        await ask(scene, QUESTION, "He did.")
        assert f"Ann said: {COMPASS}" in last_prompt(scene)
    assert embedder.closed
    assert max(len(batch) for batch in embedder.batches) <= 8


async def test_closing_waits_for_no_model(short: Config, embedder: ByMeaning) -> None:
    async with company_of(short, embedder) as scene:
        embedder.gate.clear()
        await scene.say(COMPASS)
        await scene.settled()
        began = time.monotonic()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "settings", [MemorySettings(recall_embeddings=False), MemorySettings(recall=False)]
)
async def test_switched_off_nothing_is_embedded(
    make_config: Callable[..., Config], embedder: ByMeaning, settings: MemorySettings
) -> None:
    async with company_of(make_config(memory=settings), embedder) as scene:
        await ask(scene, COMPASS, "A treasure.")
        assert not scene.behind.turns.memory.likeness.active
    assert embedder.batches == []
