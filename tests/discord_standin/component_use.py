"""Pressing buttons, picking from menus, filling in modals: what the bot is sent for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .interaction_state import Interaction
from .invocation import SlashBuilder
from .stage import Stage
from .state import Channel, Json, Message, User
from .validation import BUTTON, LABEL, ROW, STRING_SELECT, TEXT_INPUT, walk

_LINK, _PREMIUM = 5, 6
_CHECKBOX = 23


def find_component(
    message: Message, kinds: Sequence[int], custom_id: str | None, label: str | None
) -> Json:
    """The one component of those kinds with that custom id or label; the only one if neither."""
    candidates = [c for _, c in walk(message.components) if c["type"] in kinds]
    found = [
        component
        for component in candidates
        if custom_id in (None, component.get("custom_id"))
        and label in (None, component.get("label"))
    ]
    there = [(c.get("custom_id"), c.get("label")) for c in candidates]
    assert not message.deleted, f"{message} is gone"
    assert len(found) == 1, (
        f"{len(found)} components match custom_id={custom_id!r} label={label!r}; there are {there}"
    )
    assert not found[0].get("disabled"), f"{custom_id or label!r} is disabled"
    return found[0]


def click_data(message: Message, custom_id: str | None, label: str | None) -> Json:
    button = find_component(message, (BUTTON,), custom_id, label)
    assert button.get("style") not in (_LINK, _PREMIUM), "a link button sends nothing"
    return {"custom_id": button["custom_id"], "component_type": BUTTON, "id": button["id"]}


def select_data(
    stage: Stage,
    user: User,
    channel: Channel,
    message: Message,
    values: Sequence[Any],
    custom_id: str | None,
) -> Json:
    """values: option values or labels for a string menu; records or handles for the others."""
    menu = find_component(message, (3, 5, 6, 7, 8), custom_id, None)
    low, high = menu.get("min_values", 1), menu.get("max_values", 1)
    assert low <= len(values) <= high, f"the menu takes {low} to {high} values, not {len(values)}"
    data: Json = {
        "custom_id": menu["custom_id"],
        "component_type": menu["type"],
        "id": menu["id"],
    }
    if menu["type"] == STRING_SELECT:
        data["values"] = _string_values(menu, values)
    else:
        builder = SlashBuilder(stage, user, channel)
        data["values"] = builder.resolve(values)
        data["resolved"] = builder.resolved
    return data


def _string_values(menu: Json, values: Sequence[Any]) -> list[str]:
    picked = []
    for value in values:
        found = [o["value"] for o in menu["options"] if value in (o["value"], o["label"])]
        labels = [o["label"] for o in menu["options"]]
        assert found, f"the menu does not offer {value!r}, but {labels}"
        picked.append(found[0])
    return picked


def modal_data(
    stage: Stage, user: User, interaction: Interaction, values: Mapping[str, Any]
) -> Json:
    """What submitting the modal that an interaction opened sends.

    values: by custom id or by label. Inputs that are left out keep their prefilled value.
    Raises AssertionError for an unknown input, a required one left empty, a wrong length.
    """
    modal = interaction.modal
    assert modal is not None, f"{interaction} opened no modal"
    left = dict(values)
    builder = SlashBuilder(stage, user, interaction.channel)
    components = [_submitted(part, left, None, builder) for part in modal["components"]]
    inputs = [c.get("custom_id") for _, c in walk(modal["components"]) if "custom_id" in c]
    assert not left, f"the modal has no input {sorted(left)}; it has {inputs}"
    data: Json = {"custom_id": modal["custom_id"], "components": components}
    if builder.resolved:
        data["resolved"] = builder.resolved
    return data


def _submitted(
    component: Json, values: dict[str, Any], label: str | None, builder: SlashBuilder
) -> Json:
    body: Json = {"type": component["type"], "id": component.get("id")}
    if component["type"] == ROW:
        body["components"] = [
            _submitted(child, values, None, builder) for child in component["components"]
        ]
        return body
    if component["type"] == LABEL:
        inner = component["component"]
        body["component"] = _submitted(inner, values, component["label"], builder)
        return body
    if "custom_id" not in component:
        return body  # text that is only shown
    body["custom_id"] = component["custom_id"]
    label = component.get("label") or label
    name = component["custom_id"] if component["custom_id"] in values else label
    given = values.pop(name, None) if name is not None else None
    return body | _field(component, given, label, builder)


def _field(component: Json, given: Any, label: str | None, builder: SlashBuilder) -> Json:
    where = f"modal input {label or component['custom_id']!r}"
    required = component.get("required", True)
    if component["type"] == TEXT_INPUT:
        text = str(component.get("value") or "" if given is None else given)
        assert text or not required, f"{where} is required"
        low, high = component.get("min_length") or 0, component.get("max_length") or 4000
        assert not text or low <= len(text) <= high, f"{where} takes {low} to {high} characters"
        return {"value": text}
    if component["type"] == _CHECKBOX:
        return {"value": bool(component.get("default") if given is None else given)}
    if given is None:
        defaults = [o["value"] for o in component.get("options", []) if o.get("default")]
        assert defaults or not required, f"{where} is required"
        given = defaults
    chosen = [given] if isinstance(given, str) else list(given)
    if component.get("options"):
        chosen = _string_values(component, chosen)
    else:
        chosen = builder.resolve(chosen)
    if component["type"] == 21:  # a radio group has one value
        return {"value": chosen[0] if chosen else None}
    return {"values": chosen}
