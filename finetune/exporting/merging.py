"""Base and adapter become one model, whose logits are known before anything is rounded."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.errors import InputError
from inference.adapters import AdapterInfo
from inference.merged_base import merge
from inference.model_loading import LoadedModel
from inference.prompt_format import OWN, PromptFormat
from inference.types import Message

# What the logits are compared on: several scripts, numbers, line ends and the template's markers.
_SAID = (
    "Three ships, 1204 crates and one sleepy cat: what is on the quay tonight?",
    "*She counts on her fingers.* Rum, rope & 37 barrels of salt.\n\n  “No cat,” she says…",
    "你好，船长！ 오늘은 어디로 가나요? Ça coûte 12,50 €, n'est-ce pas?",
)


@dataclass(frozen=True, slots=True)
class Merged:
    """A model with nothing beside its weights, and what it must answer.

    `reference` [tokens, vocabulary] are the logits of base + adapter after `ids`, computed while
    the adapter still stood beside the base, and `base` those of the base alone; `effect` is the
    distance between them, 0 where there is no adapter.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    end_ids: tuple[int, ...]
    text: str
    ids: list[int]
    base: Tensor
    reference: Tensor
    effect: float


def check_mergeable(adapter: AdapterInfo) -> None:
    """Raise `InputError` if `adapter` is not a change of weights."""
    if PeftConfig.from_pretrained(str(adapter.folder)).is_prompt_learning:
        raise InputError(
            f"Adapter {adapter.label} is a trained prompt, which is no change of the model's"
            " weights and cannot be merged; export base, and serve the adapter beside it."
        )


def merge_for_export(loaded: LoadedModel, adapter: AdapterInfo | None) -> Merged:
    """Merge `adapter` into the model of `loaded`, which is used up.

    A quantised base is dequantised first. Raises `AdapterError` if PEFT cannot merge the adapter,
    or if the merge changed nothing.
    """
    model = _plain(loaded.model)
    prompt_format = loaded.prompt_format
    if adapter is not None:
        wanted = adapter.card.prompt_format
        prompt_format = PromptFormat(loaded.tokenizer, "auto" if wanted == OWN else wanted)
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = prompt_format.template
    text = _check_text(prompt_format)
    ids: list[int] = tokenizer(text)["input_ids"]
    base = logits(model, ids)
    reference = base
    if adapter is not None:
        seen: list[Tensor] = []
        # A change of one of two tied matrices must not reach the other.
        _untie(model)
        model = merge(model, adapter, inspect=lambda both: seen.append(logits(both, ids)))
        (reference,) = seen
        _tie_if_equal(model)
    return Merged(
        model=model,
        tokenizer=tokenizer,
        name=loaded.info.name + (f" with {adapter.label}" if adapter else ""),
        end_ids=tuple(sorted(loaded.end_ids)),
        text=text,
        ids=ids,
        base=base,
        reference=reference,
        effect=0.0 if adapter is None else distance(base, reference),
    )


@torch.inference_mode()
def logits(model: Any, ids: list[int]) -> Tensor:
    """The logits [tokens, vocabulary] after each of `ids`, in float32 on the CPU."""
    model.eval()
    out = model(torch.tensor([ids], device=model.device), use_cache=False)
    return torch.as_tensor(out.logits[0]).float().cpu()


def distance(one: Tensor, other: Tensor) -> float:
    """Root mean square of the difference of two logits [tokens, vocabulary], in standard
    deviations of `other` over the vocabulary. No number where one of them holds none.
    """
    difference = (one - other).double().pow(2).mean().sqrt()
    return float(difference / other.double().std(dim=-1).pow(2).mean().sqrt())


def _check_text(prompt_format: PromptFormat) -> str:
    roles = ("system", "user", "assistant", "user")
    said = ("You are a harbour master.", *_SAID)
    # A template may contain no more than user and assistant; `render` sees to that.
    return prompt_format.render(
        [
            Message.model_validate({"role": r, "content": c})
            for r, c in zip(roles, said, strict=True)
        ]
    )


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """`model` with weights that are plain numbers, whatever it was loaded from."""
    if getattr(model, "is_loaded_in_8bit", False) or getattr(model, "is_loaded_in_4bit", False):
        model = model.dequantize()
        model = model.float()
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def _untie(model: PreTrainedModel) -> None:
    head: Any = model.get_output_embeddings()
    embeddings: Any = model.get_input_embeddings()
    if head.weight is embeddings.weight:
        head.weight = nn.Parameter(embeddings.weight.detach().clone())
        model.config.tie_word_embeddings = False


def _tie_if_equal(model: PreTrainedModel) -> None:
    head: Any = model.get_output_embeddings()
    embeddings: Any = model.get_input_embeddings()
    if head.weight.shape == embeddings.weight.shape and head.weight.equal(embeddings.weight):
        head.weight = embeddings.weight
        model.config.tie_word_embeddings = True
