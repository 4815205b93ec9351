"""The whole chat workload: through the inference client, and through `generate` beside it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoding import generate
from benchmarks.workload import Chat
from config import Config, InferenceSettings, PathSettings
from inference.adapters import AdapterInfo
from inference.client import InferenceClient
from inference.model_loading import LoadedModel
from inference.types import GenerationRequest, InferenceError, Sampling

CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Served:
    """Chats through the client: all of them together took `seconds`."""

    seconds: float
    first_token_seconds: list[list[float]]  # [channel][turn]

    def first_token(self, turn: int) -> float:
        """Median seconds to the first token of a turn."""
        return statistics.median(channel[turn] for channel in self.first_token_seconds)


def client_config(data: Path, models: Path, rows: int, threads: int, form: str) -> Config:
    """A configuration whose data are the benchmark's, with the models of this checkout."""
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "models").exists():
        models.mkdir(parents=True, exist_ok=True)
        (data / "models").symlink_to(models.resolve())
    return Config(
        paths=PathSettings(data=data, personas=data / "personas"),
        inference=InferenceSettings.model_validate(
            {"rows": rows, "threads": threads, "weight_format": form, "queue_size": 256}
        ),
    )


async def serve_chats(
    client: InferenceClient,
    chats: Sequence[Chat],
    adapters: Sequence[AdapterInfo],
    reply_tokens: int,
    end_ids: frozenset[int],
) -> Served:
    """Every chat as a channel of its own that asks as soon as it was answered."""
    run = f"{time.monotonic_ns()}"  # channels of an earlier run are other channels
    sampling = Sampling(
        temperature=0, max_new_tokens=reply_tokens, logit_bias=dict.fromkeys(end_ids, -100.0)
    )

    async def channel(number: int, chat: Chat) -> list[float]:
        adapter = adapters[number % len(adapters)].name if adapters else "base"
        waits: list[float] = []
        for turn in range(chat.turns):
            request = GenerationRequest(
                messages=chat.messages(turn),
                adapter=adapter,
                sampling=sampling,
                channel=f"{run}-{number}",
                user=f"{run}-{number}",
            )
            started = time.perf_counter()
            first: float | None = None
            async for chunk in client.generate(request):
                if first is None and (chunk.text or chunk.finish_reason):
                    first = time.perf_counter() - started
                if chunk.finish_reason not in (None, "length"):
                    raise InferenceError(f"A reply ended with {chunk.finish_reason} {chunk.error}")
            assert first is not None, "a stream has a last chunk"
            waits.append(first)
        return waits

    started = time.perf_counter()
    waits = await asyncio.gather(*(channel(i, chat) for i, chat in enumerate(chats)))
    return Served(time.perf_counter() - started, list(waits))


def encode_turns(loaded: LoadedModel, chats: Sequence[Chat]) -> list[list[list[int]]]:
    """The prompts' tokens: [channel][turn]."""
    return [
        [loaded.prompt_format.encode(chat.messages(turn)) for turn in range(chat.turns)]
        for chat in chats
    ]


@torch.inference_mode()
def generate_chats(
    model: Any,
    prompts: Sequence[Sequence[Sequence[int]]],
    adapters: Sequence[AdapterInfo],
    reply_tokens: int,
) -> float:
    """Seconds that transformers takes for the same turns, all channels as one batch."""
    started = time.perf_counter()
    for turn in range(len(prompts[0])):
        generate(model, [channel[turn] for channel in prompts], adapters, reply_tokens)
    return time.perf_counter() - started
