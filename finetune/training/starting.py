"""Going on from an adapter that there is, instead of from fresh weights."""

from __future__ import annotations

from typing import Any

from peft import get_peft_model_state_dict
from safetensors import safe_open

from config import FinetuneSettings
from finetune.errors import InputError
from finetune.training.adapter import load_weights
from finetune.training.sharding import is_sharded
from inference.adapters import (
    AdapterInfo,
    AdapterRegistry,
    check_prompt_format,
    is_soft_prompt,
    read_settings,
)
from inference.model_loading import LoadedModel

# PEFT's names for what must be the same, and what an adapter without it has.
_SHAPE: dict[str, Any] = {
    "r": None,
    "lora_alpha": None,
    "use_rslora": False,
    "use_dora": False,
}
_OURS = {"r": "lora_r"}  # where PEFT's name is not the setting's
# What this training never makes, and would lose.
_FOREIGN = ("rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform", "lora_bias",
    "layer_replication", "target_parameters", "trainable_token_indices")  # fmt: skip


def find_start(
    registry: AdapterRegistry, name: str, loaded: LoadedModel, settings: FinetuneSettings
) -> AdapterInfo:
    """The adapter `name` (`pirate`, `pirate@3`, `default`), which a training of `settings` fits.

    Its matrices must have the shape, the places and the scale that the training's have. Raises
    `InputError` naming both sides, and `AdapterError` if it cannot be used at all.
    """
    if settings.method == "prompt_tuning":
        raise InputError(
            "prompt_tuning learns a prompt and cannot go on from an adapter; leave out start_from"
            " or choose another method."
        )
    if is_sharded():
        raise InputError(
            "A model in slices (FSDP, ZeRO-3) cannot go on from an adapter; leave out start_from,"
            " or launch with ddp.yaml."
        )
    info = registry.resolve(name, loaded.info.fingerprint)
    if info is None:
        raise InputError(
            f"{name} stands for the model without adapter; leave out start_from to begin with"
            " fresh weights."
        )
    check_prompt_format(info, loaded.info.prompt_format)
    _check_shape(info, settings)
    return info


def begin_from(model: Any, start: AdapterInfo) -> None:
    """Put the weights of `start` into the fresh adapter of `model` (a `peft.PeftModel`).

    Raises `InputError` if they are not for the same layers.
    """
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    with safe_open(start.weights, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
        raise InputError(
            f"{start.label} does not fit this model at {odd[0]} ({found.get(odd[0])} instead of"
            f" {wanted.get(odd[0])}); leave out start_from."
        )
    load_weights(model, start.folder)


def described(start: AdapterInfo | None) -> str | None:
    """What a checkpoint remembers of where its training began."""
    return None if start is None else f"{start.label} ({start.card.weights_hash[:12]})"


def _check_shape(info: AdapterInfo, settings: FinetuneSettings) -> None:
    if is_soft_prompt(info):
        raise InputError(
            f"{info.label} is a learnt prompt, not matrices to go on from; leave out start_from."
        )
    theirs = read_settings(info)
    foreign = [key for key in _FOREIGN if theirs.get(key)]
    if theirs.get("peft_type") != "LORA" or foreign:
        odd = foreign[0] if foreign else f"peft_type {theirs.get('peft_type')}"
        raise InputError(
            f"{info.label} has {odd}, which a training here does not make; leave out start_from."
        )
    for key, missing in _SHAPE.items():
        ours = _OURS.get(key, key)
        before, now = theirs.get(key, missing), getattr(settings, ours)
        if before != now:
            raise InputError(
                f"{info.label} was trained with {ours} = {before} and this training has {ours} ="
                f" {now}; give the same, or leave out start_from."
            )
    before_at, now_at = _targets(theirs), sorted(settings.lora_target_modules)
    if before_at != now_at:
        raise InputError(
            f"{info.label} was trained with lora_target_modules = {','.join(before_at)} and this"
            f" training has {','.join(now_at)}; give the same, or leave out start_from."
        )


def _targets(settings: dict[str, Any]) -> list[str]:
    """PEFT writes a list of names, or one pattern."""
    given = settings.get("target_modules") or []
    return [given] if isinstance(given, str) else sorted(map(str, given))
