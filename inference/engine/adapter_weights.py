"""A PEFT LoRA adapter, read from its folder into the layout of the stacked columns.

Every setting that changes what the adapter computes is either honoured or refused, and every tensor
of the file must find its place: an adapter half applied is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.adapters import AdapterError, AdapterInfo, read_settings
from inference.engine.rotary import pair_rows

_MERGE = "merge it into the base model to serve it alone, or train a plain LoRA"
# settings of PEFT's LoraConfig that change the computation in a way rows cannot share
_UNMIXABLE = {
    "use_dora": "uses DoRA",
    "modules_to_save": "replaces whole modules (modules_to_save)",
    "trainable_token_indices": "changes token embeddings (trainable_token_indices)",
    "use_qalora": "uses QALoRA",
    "use_bdlora": "uses block-diagonal LoRA",
    "lora_bias": "adds biases (lora_bias)",
    "layer_replication": "replicates layers (layer_replication)",
    "target_parameters": "targets bare parameters (target_parameters)",
    "alora_invocation_tokens": "is an activated LoRA (alora_invocation_tokens)",
    "arrow_config": "uses Arrow routing",
    "kasa_config": "uses KaSA",
    "monteclora_config": "uses MonteCLoRA",
}
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.[^.]+)?\.weight", re.ASCII
)
_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<name>.+)", re.ASCII)


class Group(NamedTuple):
    """Projections of one input that the runner computes at once."""

    name: str
    modules: tuple[str, ...]  # as the model names them inside a layer
    width: int  # of the input
    outputs: tuple[int, ...]  # width of each projection's output
    paired: int  # how many of them are in rotary row order


@dataclass(frozen=True, slots=True)
class GroupWeights:
    down: Tensor  # A: [layers, rank, parts, width]
    up: tuple[Tensor, ...]  # B of each part, scaling included: [layers, rank, output]


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """One adapter, zero-padded to its own largest rank."""

    key: str
    label: str
    rank: int
    groups: Mapping[str, GroupWeights]
    soft_prompt: Tensor | None = None  # [virtual tokens, hidden]; then there are no groups

    @property
    def nbytes(self) -> int:
        tensors = [t for group in self.groups.values() for t in (group.down, *group.up)]
        if self.soft_prompt is not None:
            tensors.append(self.soft_prompt)
        return sum(tensor.nbytes for tensor in tensors)


class AdapterPlan(NamedTuple):
    """What the header of an adapter's file promises; enough to refuse a request at once."""

    key: str
    info: AdapterInfo
    ranks: dict[str, int]  # module path → rank
    scaling: dict[str, float]  # module path → scaling
    virtual_tokens: int = 0  # of a soft prompt, which has no ranks

    @property
    def rank(self) -> int:
        return max(self.ranks.values(), default=0)


def plan_adapter(info: AdapterInfo, groups: tuple[Group, ...], layers: int) -> AdapterPlan:
    """Check an adapter's settings and the names and shapes of its tensors; reads no weights.

    Raises `AdapterError` with the reason if its rows could not share a batch with others'.
    """
    settings = read_settings(info)
    _refuse_unmixable(info.label, settings)
    shapes = read_shapes(info)
    expected = {
        module: (group.width, width)
        for group in groups
        for module, width in zip(group.modules, group.outputs, strict=True)
    }
    pairs: dict[str, dict[str, list[int]]] = {}
    for name, shape in shapes.items():
        module, side = _place(info.label, name, expected, layers)
        pairs.setdefault(module, {})[side] = shape
    if not pairs:
        raise AdapterError(f"Adapter {info.label} holds no LoRA tensors; train it again.")
    ranks: dict[str, int] = {}
    for module, sides in pairs.items():
        width, output = expected[_in_layer(module)]
        if set(sides) != {"A", "B"}:
            raise AdapterError(f"Adapter {info.label} has only half of the LoRA pair of {module}.")
        rank = sides["A"][0]
        if sides["A"] != [rank, width] or sides["B"] != [output, rank]:
            raise AdapterError(
                f"Adapter {info.label} was made for a model of another size: {module} has shapes"
                f" {sides['A']} and {sides['B']} where {[rank, width]} and {[output, rank]} fit."
            )
        ranks[module] = rank
    scaling = {module: _scaling(settings, module, rank) for module, rank in ranks.items()}
    # alpha lives in the settings: the same weights under other settings are another adapter
    digest = hashlib.sha256(json.dumps(sorted(scaling.items())).encode()).hexdigest()
    return AdapterPlan(f"{info.card.weights_hash}:{digest[:16]}", info, ranks, scaling)


def read_adapter(
    plan: AdapterPlan,
    groups: tuple[Group, ...],
    layers: int,
    head_dim: int,
    dtype: torch.dtype,
) -> AdapterWeights:
    """Read the weights that `plan` describes into host memory.

    Raises `AdapterError` if the file is not the one that was published, or is not finite.
    """
    info, rank = plan.info, plan.rank
    check_hash(info)
    stacked = {
        group.name: GroupWeights(
            torch.zeros(layers, rank, len(group.modules), group.width, dtype=dtype),
            tuple(torch.zeros(layers, rank, width, dtype=dtype) for width in group.outputs),
        )
        for group in groups
    }
    places = {
        module: (group, part)
        for group in groups
        for part, module in enumerate(group.modules)
    }  # fmt: skip
    with safe_open(info.weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            match = _TENSOR.fullmatch(name)
            assert match is not None, "the plan has placed every tensor"
            module, tensor = match["module"], file.get_tensor(name).float()
            if not torch.isfinite(tensor).all():
                raise AdapterError(
                    f"Adapter {info.label} holds values that are not finite numbers in {module};"
                    " its training diverged: train it again with a lower learning rate."
                )
            group, part = places[_in_layer(module)]
            layer = int(module.split(".")[2])
            own = plan.ranks[module]
            target = stacked[group.name]
            if match["side"] == "A":
                target.down[layer, :own, part] = tensor
                continue
            if part < group.paired:
                tensor = pair_rows(tensor, head_dim)
            target.up[part][layer, :own] = (tensor * plan.scaling[module]).t()
    return AdapterWeights(plan.key, info.label, rank, stacked)


def read_shapes(info: AdapterInfo) -> dict[str, list[int]]:
    """The name and shape of every tensor, from the header of the weights file."""
    try:
        with safe_open(info.weights, framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AdapterError(
            f"The weights of adapter {info.label} cannot be read: {error}."
        ) from None


def _refuse_unmixable(label: str, settings: dict[str, Any]) -> None:
    kind = settings.get("peft_type", "LORA")
    if kind != "LORA":
        raise AdapterError(
            f"Adapter {label} is a {kind} adapter; only LoRA adapters and soft prompts"
            " (PROMPT_TUNING) can be mixed."
        )
    for key, reason in _UNMIXABLE.items():
        if settings.get(key):
            raise AdapterError(
                f"Adapter {label} {reason} and cannot be mixed with others; {_MERGE}."
            )
    if settings.get("bias", "none") != "none":
        raise AdapterError(f"Adapter {label} trains biases and cannot be mixed; {_MERGE}.")
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise AdapterError(
            f"Adapter {label} was started with {start}, which changes the base model; convert it to"
            " a plain LoRA when saving it (path_initial_model_for_weight_conversion)."
        )


def _place(label: str, name: str, expected: Mapping[str, object], layers: int) -> tuple[str, str]:
    """The module and side (A or B) that the tensor `name` belongs to."""
    if "embedding" in name or "embed_tokens" in name:
        raise AdapterError(
            f"Adapter {label} changes the token embeddings ({name}) and cannot be mixed; {_MERGE}."
        )
    if "lora_magnitude_vector" in name:
        raise AdapterError(f"Adapter {label} uses DoRA and cannot be mixed with others; {_MERGE}.")
    match = _TENSOR.fullmatch(name)
    layer = _LAYER.fullmatch(match["module"]) if match else None
    if match is None or layer is None or layer["name"] not in expected:
        raise AdapterError(f"Adapter {label} holds {name}, which no layer of this model can apply.")
    if int(layer["layer"]) >= layers:
        raise AdapterError(
            f"Adapter {label} holds {name}, but the model has {layers} layers; it was made for a"
            " larger one."
        )
    return match["module"], match["side"]


def _in_layer(module: str) -> str:
    return module.split(".", 3)[3]


def _scaling(settings: dict[str, Any], module: str, rank: int) -> float:
    alpha = float(settings.get("lora_alpha", 8))
    # the same rule by which PEFT finds a pattern for a module
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def check_hash(info: AdapterInfo) -> None:
    """Raise `AdapterError` unless the weights are those that the card speaks of."""
    with info.weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != info.card.weights_hash:
        raise AdapterError(
            f"The weights of adapter {info.label} are not those that were published; publish them"
            " as a new version."
        )
