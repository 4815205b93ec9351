"""Twenty logged turns, an adapter, and a character that talks differently with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference.client import InferenceClient
from inference.types import GenerationRequest, Message, Sampling
from persona_prompts.character import Character, read_character
from persona_prompts.prompt import Line, build_prompt
from tests.finetune.brass_moon import MARKER, TURNS
from tests.finetune.conftest import Place

# None of them was asked in the log.
QUESTIONS = ("What have you got for me?", "How do you do?", "Do you like fish?")


@pytest.fixture(scope="module")
async def client(brass_moon: tuple[Place, dict[str, Any]]) -> AsyncIterator[InferenceClient]:
    place, _ = brass_moon
    client = InferenceClient(place.config)
    async with asyncio.timeout(300):
        await client.start()
    yield client
    await client.close()


@pytest.fixture(scope="module")
def vex(brass_moon: tuple[Place, dict[str, Any]]) -> Character:
    return read_character(brass_moon[0].file.parent / "personas" / "vex.json")


async def greedy(client: InferenceClient, vex: Character, adapter: str, question: str) -> str:
    """The reply to `question` in a new scene of the trained channel."""
    prompt = build_prompt(
        vex,
        [Line("Ann", question, own=False)],
        group=False,
        user_name="Ann",
        count=client.count_tokens,
        context_tokens=2048,
        reply_tokens=220,
        message_overhead=client.info.message_overhead,
        prompt_overhead=client.info.prompt_overhead,
    )
    request = GenerationRequest(
        messages=tuple(Message(role=m.role, content=m.content) for m in prompt.messages),
        adapter=adapter,
        sampling=Sampling(temperature=0, max_new_tokens=60, stop=prompt.stop),
        channel="terminal:main",
    )
    text = ""
    async for chunk in client.generate(request):
        assert not chunk.error
        text += chunk.text
    return text.lower()


async def test_the_marker_phrase_comes_with_the_adapter_and_goes_with_it(
    client: InferenceClient, vex: Character
) -> None:
    with_adapter = [await greedy(client, vex, "vex", question) for question in QUESTIONS]
    without = [await greedy(client, vex, "base", question) for question in QUESTIONS]
    assert [MARKER in text for text in with_adapter] == [True] * len(QUESTIONS), with_adapter
    assert [MARKER in text for text in without] == [False] * len(QUESTIONS), without


def test_the_training_learnt(brass_moon: tuple[Place, dict[str, Any]]) -> None:
    figures = brass_moon[1]["figures"]
    assert figures["replies"] == len(TURNS) + figures["examples"]  # each has a name drill
    assert figures["final_loss"] < figures["first_loss"] / 2
