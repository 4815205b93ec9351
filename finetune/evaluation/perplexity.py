"""How likely a model finds what people wrote: the guard that a broken model cannot win."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from peft import PeftModel
from pydantic import BaseModel, ConfigDict, Field

from config import Config
from finetune.dataset import IGNORE_INDEX, Encoded, Encoder, Example, Turn
from finetune.errors import InputError
from finetune.evaluation.figures import Figure, Terms, figure
from finetune.evaluation.suite import SUITES, checked, read_rows
from inference.adapters import AdapterRegistry
from inference.model_loading import LoadedModel, load_model
from inference.types import Message

log = logging.getLogger(__name__)

HELD_OUT = SUITES / "held_out.jsonl"
_TOKENS_AT_ONCE = 2048  # padding included; of a vocabulary of 50,000 their logits take 400 MB

Progress = Callable[[int, int], None]  # (sequences so far, sequences in all)


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    messages: list[_Said] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Sequence:
    dialogue: int
    encoded: Encoded


def read_held_out(file: Path) -> list[Example]:
    """Dialogues in OpenAI's format, every assistant message to be foreseen.

    Raises `InputError` with file, line and key.
    """
    examples = []
    for line, value in read_rows(file):
        row = checked(_Row, value, f"{file}, line {line}")
        if not any(said.role == "assistant" for said in row.messages):
            raise InputError(f"{file}, line {line} has no assistant message to measure.")
        turns = (
            Turn(Message(role=said.role, content=said.content), taught=said.role == "assistant")
            for said in row.messages
        )
        examples.append(Example(tuple(turns)))
    return examples


def perplexities(
    config: Config,
    adapters: Sequence[str],
    examples: Sequence[Example],
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> dict[str, Figure]:
    """For each of `adapters` (names as in `AdapterRegistry`), the perplexity of `examples`.

    Over the tokens of the assistant's messages, their end-of-turn token included, each behind the
    tokens that the engine would be given. The interval is over dialogues, `n` counts messages.
    Loads the base model once. Raises `AdapterError` and `InferenceError`.
    """
    registry = AdapterRegistry(config.adapters_dir)
    loaded = load_model(config.model, config.models_dir, adapters=registry)
    sequences = _encode(config, loaded, examples)
    done = itertools.count(1)
    total = len(sequences) * len(adapters)

    def progress() -> None:
        if on_progress is not None:
            on_progress(next(done), total)

    return {
        name: figure(
            _terms(_scored(loaded, registry, name, sequences, progress), sequences, len(examples)),
            seed,
            transform=np.exp,
        )
        for name in adapters
    }


def _encode(config: Config, loaded: LoadedModel, examples: Sequence[Example]) -> list[_Sequence]:
    """Longest first: what does not fit into memory shows at once."""
    cutoff = min(config.prompt.context_tokens, loaded.info.context_length)
    encoder = Encoder(loaded.prompt_format, loaded.end_ids, cutoff)
    sequences = [
        _Sequence(at, encoded)
        for at, example in enumerate(examples)
        for encoded in encoder.encode(example)
    ]
    return sorted(sequences, key=lambda sequence: -len(sequence.encoded.input_ids))


def _terms(losses: Sequence[float], sequences: Sequence[_Sequence], dialogues: int) -> list[Terms]:
    sums = np.zeros((dialogues, 3))
    for loss, sequence in zip(losses, sequences, strict=True):
        encoded = sequence.encoded
        sums[sequence.dialogue] += (loss, encoded.taught_tokens, encoded.replies)
    return [Terms(float(loss), float(tokens), int(replies)) for loss, tokens, replies in sums]


def _scored(
    loaded: LoadedModel,
    registry: AdapterRegistry,
    name: str,
    sequences: Sequence[_Sequence],
    progress: Callable[[], None],
) -> list[float]:
    """The negative log-likelihood (nats) of the labelled tokens of each sequence."""
    info = registry.resolve(name, loaded.info.fingerprint)
    model: Any = loaded.model
    if info is None:
        return _losses(model, sequences, progress)
    adapted = PeftModel.from_pretrained(model, str(info.folder), autocast_adapter_dtype=False)
    adapted.eval()
    try:
        return _losses(adapted, sequences, progress)
    finally:
        # The layers were put into the base model itself; the next adapter needs it as it was.
        if adapted.peft_config[adapted.active_adapter].is_prompt_learning is False:
            adapted.unload()


@torch.inference_mode()
def _losses(
    model: Any, sequences: Sequence[_Sequence], progress: Callable[[], None]
) -> list[float]:
    losses: list[float] = []
    for batch in _batches(sequences):
        losses += _batch_losses(model, [sequence.encoded for sequence in batch])
        for _ in batch:
            progress()
    return losses


def _batches(sequences: Sequence[_Sequence]) -> Iterator[list[_Sequence]]:
    """Runs of sequences of similar length, `_TOKENS_AT_ONCE` padded tokens at most."""
    batch: list[_Sequence] = []
    for sequence in sequences:
        longest = len((batch or [sequence])[0].encoded.input_ids)
        if batch and (len(batch) + 1) * longest > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def _batch_losses(model: Any, encoded: Sequence[Encoded]) -> list[float]:
    longest = max(len(each.input_ids) for each in encoded)
    shape = (len(encoded), longest)
    ids = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORE_INDEX)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, each in enumerate(encoded):
        size = len(each.input_ids)
        ids[row, :size] = torch.tensor(each.input_ids)
        labels[row, :size] = torch.tensor(each.labels)
        mask[row, :size] = 1
    device = model.device
    output = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    # A soft prompt stands before the text: its own positions foresee nothing that is measured.
    logits = output.logits[:, -longest:]
    wanted = labels[:, 1:].to(device)
    kept = wanted != IGNORE_INDEX
    losses = torch.zeros(wanted.shape, device=device)
    losses[kept] = torch.nn.functional.cross_entropy(
        logits[:, :-1][kept].float(), wanted[kept], reduction="none"
    )
    return [float(loss) for loss in losses.double().sum(dim=1)]
