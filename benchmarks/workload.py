"""What is served: chats of eight turns from real dialogue, and adapters of rank 16."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from inference.adapters import (
    CARD_FILE,
    WEIGHTS_FILE,
    AdapterCard,
    AdapterInfo,
    AdapterRegistry,
    weights_hash,
)
from inference.types import InferenceError, Message

SAMPLE = Path(__file__).with_name("data") / "dialogues.csv"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK = 16
_TURNS = 8
_STRENGTH = 0.02  # of random B matrices: enough to change replies, not to break them


@dataclass(frozen=True, slots=True)
class Chat:
    """One channel's conversation; its lines are taken in turn by a user and the character."""

    persona: str
    lines: tuple[str, ...]

    @property
    def turns(self) -> int:
        return _TURNS

    def messages(self, turn: int) -> tuple[Message, ...]:
        """The prompt of turn 0, 1, …: all that was said, up to the user's line of that turn."""
        said = (self.lines[index % len(self.lines)] for index in range(2 * turn + 1))
        system = Message(role="system", content=f"You are a character. {self.persona}")
        roles = ("user", "assistant")
        return (
            system,
            *(Message(role=roles[i % 2], content=line) for i, line in enumerate(said)),
        )


def read_chats(file: Path, count: int) -> list[Chat]:
    """`count` chats from a CSV of dialogues, beginning again where the file ends.

    Its columns are those of Synthetic-Persona-Chat: two personas, and lines `User 1: …`.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise InferenceError(f"The file {file} holds no dialogues; give another with --dialogues.")
    chats: list[Chat] = []
    for index in range(count):
        row = rows[index % len(rows)]
        said = [line.partition(": ")[2] for line in row["Best Generated Conversation"].splitlines()]
        # a second reading of the same dialogue is another channel's: it must not share prefixes
        again = f" This is room {index // len(rows)}." if index >= len(rows) else ""
        persona = " ".join(row["user 2 personas"].split())
        chats.append(Chat(persona + again, tuple(line for line in said if line)))
    return chats


def publish_adapters(
    registry: AdapterRegistry, model: Any, fingerprint: str, count: int
) -> list[AdapterInfo]:
    """`count` adapters of rank 16 with random weights on all linear layers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(model.config)
    settings = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LINEARS)
    shapes = {
        name.replace(".default", ""): tensor.shape
        for name, tensor in get_peft_model(bare, settings).named_parameters()
        if "lora_" in name
    }
    settings.base_model_name_or_path = model.config._name_or_path
    settings.inference_mode = True
    return [
        _publish(registry, settings, shapes, fingerprint, f"bench{index}", index)
        for index in range(count)
    ]


def _publish(
    registry: AdapterRegistry,
    settings: LoraConfig,
    shapes: dict[str, torch.Size],
    fingerprint: str,
    name: str,
    seed: int,
) -> AdapterInfo:
    staging = registry.staging_folder(name)
    random = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(shape, generator=random)
        * (_STRENGTH if "lora_B" in key else shape[1] ** -0.5)
        for key, shape in shapes.items()
    }
    save_file(tensors, staging / WEIGHTS_FILE)
    settings.save_pretrained(str(staging))
    card = AdapterCard(
        base_model="the benchmark's",
        base_fingerprint=fingerprint,
        prompt_format="tokenizer",
        weights_hash=weights_hash(staging),
        note="random weights, for measuring",
    )
    (staging / CARD_FILE).write_text(card.model_dump_json(), encoding="utf-8")
    return registry.publish(staging, name)


def peft_model(model: Any, adapters: Sequence[AdapterInfo]) -> Any:
    """transformers' model with the same adapters, for `generate(adapter_names=…)`."""
    import copy

    from peft import PeftModel

    first, *others = adapters
    whole = PeftModel.from_pretrained(copy.deepcopy(model), str(first.folder), first.name)
    for adapter in others:
        whole.load_adapter(str(adapter.folder), adapter.name)
    return whole.eval()


def adapter_tensors(adapter: AdapterInfo) -> dict[str, torch.Tensor]:
    """The weights of an adapter, by PEFT's names."""
    return load_file(adapter.weights)


def remove(folder: Path) -> None:
    """Delete what a run has written."""
    shutil.rmtree(folder, ignore_errors=True)
