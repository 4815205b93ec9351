"""Vectors from a process of its own, and what happens when it fails."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference import embedder as module
from inference.embedder import DIMENSIONS, LONGEST, Embedder, EmbeddingError, is_installed

WORKER = Path(__file__).with_name("fake_embedding_worker.py")


def command(behaviour: str = "") -> tuple[str, ...]:
    return (sys.executable, str(WORKER), behaviour)


@pytest.fixture
async def embedder() -> AsyncIterator[Embedder]:
    made = Embedder(command())
    yield made
    await made.close()


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_each_text_has_its_vector(embedder: Embedder) -> None:
    assert embedder.pid is None, "nothing is started before it is needed"
    assert await embedder.embed(["a", "bcd"]) == [b"\x01" * DIMENSIONS, b"\x03" * DIMENSIONS]
    assert await embedder.embed(["line\nbreak “☃”"]) == [bytes([14]) * DIMENSIONS]
    [long] = await embedder.embed(["x" * 10_000])
    assert long[0] == LONGEST % 128


async def test_many_callers_each_get_their_own(embedder: Embedder) -> None:
    asked = ["x" * number for number in range(1, 30)]
    found = await asyncio.gather(*(embedder.embed([text]) for text in asked))
    assert [vector[0] for [vector] in found] == list(range(1, 30))


@pytest.mark.parametrize("bad", ["die", "short", "noise", "refuse"])
async def test_after_a_failure_it_rests_and_then_starts_again(
    embedder: Embedder, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embedder.embed(["good"])
    first = embedder.pid
    with pytest.raises(EmbeddingError, match="The embeddings failed"):
        await embedder.embed([bad])
    assert first is not None
    assert not alive(first)
    with pytest.raises(EmbeddingError, match="wait for a minute"):
        await embedder.embed(["good"])
    monkeypatch.setattr(embedder, "_resting_until", 0.0)
    assert len(await embedder.embed(["good"])) == 1
    assert embedder.pid != first


async def test_a_silent_process_is_given_up(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embedder.embed(["good"])
    monkeypatch.setattr(module, "_BATCH_SECONDS", 0.05)
    with pytest.raises(EmbeddingError):
        await embedder.embed(["sleep"])
    assert embedder.pid is None


async def test_a_cancelled_question_spoils_no_other(embedder: Embedder) -> None:
    await embedder.embed(["good"])
    asked = asyncio.create_task(embedder.embed(["sleep"]))
    await asyncio.sleep(0.05)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await embedder.embed(["four"]) == [b"\x04" * DIMENSIONS]


@pytest.mark.parametrize(
    ("behaviour", "why"), [("other model", "another one"), ("no model", "torch is broken")]
)
async def test_a_model_that_cannot_be_used_is_told(behaviour: str, why: str) -> None:
    embedder = Embedder(command(behaviour))
    with pytest.raises(EmbeddingError, match=why):
        await embedder.embed(["good"])
    await embedder.close()


async def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(EmbeddingError, match="No such file"):
        await Embedder(("/nowhere/python",)).embed(["good"])


async def test_closing_ends_the_process_and_who_waits_for_it(embedder: Embedder) -> None:
    await embedder.embed(["good"])
    pid = embedder.pid
    asked = asyncio.create_task(embedder.embed(["sleep"]))
    await asyncio.sleep(0.05)
    await embedder.close()
    with pytest.raises(EmbeddingError):
        await asked
    assert pid is not None
    assert not alive(pid)
    with pytest.raises(EmbeddingError, match="closed"):
        await embedder.embed(["good"])


# What was said once, and questions that share no rare word with it; then what nothing answers to.
# Written for this test, and what memory.recall_similarity was chosen on.
SAID = (
    "My grandfather carved a compass of whalebone.",
    "I am allergic to shellfish, so no oysters for me.",
    "We buried the chest under the third oak behind the mill.",
    "The storm took our mast last winter.",
    "The innkeeper waters down his ale.",
    "My horse threw a shoe near the ford.",
    "*She looks out over the harbour and sighs.*",
    "The moon is beautiful tonight.",
    "What a lovely day it is.",
)
ASKED = {
    "Who made your family's navigation instrument?": 0,
    "Can I eat the crab soup?": 1,
    "Where did we hide the treasure?": 2,
    "What happened to the ship in bad weather?": 3,
    "Is the beer in the tavern any good?": 4,
    "Why did you come on foot?": 5,
    "What is the capital of France?": None,
    "Hello there, how are you?": None,
    "Do you like dragons?": None,
    "Tell me a joke.": None,
    "Would you dance with me?": None,
    "I feel sad today.": None,
}


@pytest.mark.skipif(not is_installed(), reason="the extra recall is not installed")
async def test_the_real_model_finds_what_is_meant_and_nothing_else() -> None:
    import numpy as np

    from config import MemorySettings

    embedder = Embedder()
    vectors = await embedder.embed([*SAID, *ASKED])
    await embedder.close()
    matrix = np.stack([np.frombuffer(vector, np.int8) for vector in vectors]).astype(float)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(127, abs=3)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    threshold = MemorySettings().recall_similarity
    for question, row in zip(ASKED, matrix[len(SAID) :], strict=True):
        cosines = matrix[: len(SAID)] @ row
        found = [at for at, cosine in enumerate(cosines) if cosine >= threshold]
        assert found == ([] if ASKED[question] is None else [ASKED[question]]), question
