"""The model that newcomers meet: SmolLM2-135M, four adapters and the base in one batch."""

from __future__ import annotations

from pathlib import Path

from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.model_loading import LoadedModel
from tests.inference.engine.conftest import ask, drain, greedy, make_lora

QUESTIONS = ["Hello!", "Who are you, and what do you sell?", "Tell me a story about the sea."]


def test_it_says_what_transformers_and_peft_say(embedded: LoadedModel, tmp_path: Path) -> None:
    loras = [
        make_lora(embedded.model, tmp_path / f"a{rank}", seed=rank, r=rank, lora_alpha=alpha)
        for rank, alpha in ((16, 2), (4, 1))
    ]
    settings = EngineSettings(rows=8, context=256, weight_format="float32")
    engine = BatchEngine(embedded.model, frozenset({2}), settings)
    prompts = [
        embedded.tokenizer(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")[
            "input_ids"
        ]
        for question in QUESTIONS
    ]
    asked = {
        f"{number} {which}": (lora, prompt)
        for number, prompt in enumerate(prompts)
        for which, lora in enumerate([None, *loras])
    }
    waiting = [
        ask(id, prompt, lora.info if lora else None, max_new_tokens=10)
        for id, (lora, prompt) in asked.items()
    ]
    for request in waiting[:8]:
        engine.insert(request)
    replies = drain(engine)
    for request in waiting[8:]:
        engine.insert(request)
    drain(engine, replies)
    engine.close()
    for id, (lora, prompt) in asked.items():
        model = lora.model if lora else embedded.model
        assert replies.tokens[id] == greedy(model, prompt, 10)
