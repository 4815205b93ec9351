from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import InferenceSettings, ModelSettings, PromptSettings, SamplingSettings
from finetune.evaluation.figures import evaluate
from finetune.evaluation.playing import patient, play, reply_seed
from inference.adapters import AdapterError
from inference.client import InferenceClient
from inference.types import Chunk, GenerationRequest, ModelInfo, Sampling
from tests.conftest import MakeConfig
from tests.finetune.evaluation.samples import script

SHORT = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=6)


async def _play(client: InferenceClient, seed: int = 1, **options: object) -> list[list[str]]:
    suite = [script(id=f"user-{at}") for at in range(5)]
    prompt = PromptSettings(**options)  # type: ignore[arg-type]
    steps: list[tuple[int, int]] = []
    played = await play(
        client,
        suite,
        "base",
        seed=seed,
        sampling=SHORT,
        prompt=prompt,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(at, 15) for at in range(1, 16)]
    assert [each.user for each in played] == suite
    assert [each.adapter for each in played] == ["base"] * 5
    assert [each.failed for each in played] == [0] * 5, [r.error for p in played for r in p.replies]
    return [[reply.text for reply in each.replies] for each in played]


async def test_all_dialogues_are_played_and_a_seed_repeats_them(
    make_config: MakeConfig, tiny_folder: Path
) -> None:
    config = make_config(
        # in bfloat16 the neighbours in a batch can change a last digit, and so a word
        model=ModelSettings(base=str(tiny_folder), device="cpu", dtype="float32"),
        inference=InferenceSettings(
            weight_format="float32", queue_size=1, queue_per_user=1, threads=1
        ),
        sampling=SamplingSettings(),
    )
    client = InferenceClient(patient(config, 5))
    await client.start()
    try:
        first = await _play(client)
        assert await _play(client) == first
        assert await _play(client, seed=2) != first
        assert len({tuple(replies) for replies in first}) == 5  # each dialogue has its own seeds
        with pytest.raises(AdapterError, match="no adapter 'pirate'"):
            await play(
                client, [script()], "pirate", seed=0, sampling=SHORT, prompt=PromptSettings()
            )
        long = script(persona="word " * 3000)
        [refused] = await play(
            client, [long], "base", seed=0, sampling=SHORT, prompt=PromptSettings()
        )
        assert refused.failed == 3
        assert "prompt.context_tokens" in refused.replies[0].error
    finally:
        await client.close()


def test_seeds_differ_by_dialogue_turn_and_run() -> None:
    seeds = {
        reply_seed(seed, name, turn) for seed in (0, 1) for name in ("a", "b") for turn in range(9)
    }
    assert len(seeds) == 36
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert reply_seed(3, "a", 1) == reply_seed(3, "a", 1)


class _Mute:
    """A client whose model ends every reply before its first word."""

    def __init__(self) -> None:
        self.adapters = self
        self.info = ModelInfo(
            name="mute",
            context_length=2048,
            fingerprint="mute",
            prompt_format="chatml",
            dtype="float32",
            device="cpu",
            message_overhead=4,
            prompt_overhead=4,
            tokenizer_json="",
            summary="",
        )
        self.seeds: list[int | None] = []

    def resolve(self, *_: object) -> None:
        return None

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def generate(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        self.seeds.append(request.sampling.seed)
        yield Chunk(finish_reason="stop")


async def test_a_mute_model_fails_at_every_turn_after_a_second_try() -> None:
    mute: Any = _Mute()
    [played] = await play(mute, [script()], "base", seed=1, sampling=SHORT, prompt=PromptSettings())
    assert played.failed == 3
    assert all(reply.silent and "before the first word" in reply.error for reply in played.replies)
    assert len(set(mute.seeds)) == 6
    found = evaluate("base", [played]).figures
    assert found["IIR"].value is None
    assert (found["Recall"].value, found["Recall"].n) == (0.0, 1)
