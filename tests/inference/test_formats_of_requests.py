"""A request may name the prompt format that it wants, whatever the model serves else."""

from __future__ import annotations

import pytest

from config import InferenceSettings
from inference.client import InferenceClient
from inference.model_loading import LoadedModel
from inference.prompt_format import PromptFormat
from inference.types import GenerationRequest, Message, RequestRefused, Sampling
from tests.conftest import MakeConfig


def request(prompt_format: str, adapter: str = "base") -> GenerationRequest:
    return GenerationRequest.model_validate(
        {
            "messages": [Message(role="user", content="Name three colours.")],
            "prompt_format": prompt_format,
            "adapter": adapter,
            "sampling": Sampling(max_new_tokens=2, seed=1),
        }
    )


async def test_the_worker_formats_the_prompt_as_the_request_says(
    client: InferenceClient, tiny: LoadedModel
) -> None:
    sizes = {}
    for name in ("auto", "alpaca", "vicuna"):
        wanted = request(name)
        expected = PromptFormat(tiny.tokenizer, name).encode(wanted.messages)
        last = [chunk async for chunk in client.generate(wanted)][-1]
        assert last.usage is not None
        assert last.usage.prompt_tokens == len(expected)
        sizes[name] = last.usage.prompt_tokens
    assert sizes["alpaca"] != sizes["vicuna"]


async def test_a_server_elsewhere_formats_prompts_itself(make_config: MakeConfig) -> None:
    elsewhere = InferenceClient(make_config(inference=InferenceSettings(engine="openai")))
    with pytest.raises(RequestRefused, match="formats prompts itself"):
        async for _ in elsewhere.generate(request("alpaca")):
            pass
    await elsewhere.close()
