"""Discord's limits on what a message, an embed, a component tree or a modal may hold."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import bad_length, invalid_form, too_long
from .state import COMPONENTS_V2, Json

MAX_CONTENT = 2000
MAX_EMBEDS = 10
MAX_EMBED_TOTAL = 6000
MAX_UPLOAD = 10 * 1024 * 1024

ROW, BUTTON, STRING_SELECT, TEXT_INPUT = 1, 2, 3, 4
SELECTS = (3, 5, 6, 7, 8)
SECTION, CONTAINER, LABEL = 9, 17, 18
#: Components that only a message with the IS_COMPONENTS_V2 flag may hold.
LAYOUT = (9, 10, 11, 12, 13, 14, 17)

_EMBED_LIMITS = {"title": 256, "description": 4096}


def length(text: str) -> int:
    """Length as Discord counts it: in code points."""
    return len(text)


def check_content(content: str) -> None:
    if length(content) > MAX_CONTENT:
        raise too_long("content", MAX_CONTENT)


def check_embeds(embeds: list[Json]) -> None:
    if len(embeds) > MAX_EMBEDS:
        raise bad_length("embeds", 0, MAX_EMBEDS)
    total = 0
    for index, embed in enumerate(embeds):
        for path, text, limit in _embed_texts(embed):
            if length(text) > limit:
                raise too_long(f"embeds.{index}.{path}", limit)
            total += length(text)
        if len(embed.get("fields", [])) > 25:
            raise bad_length(f"embeds.{index}.fields", 0, 25)
        for number, entry in enumerate(embed.get("fields", [])):
            for key in ("name", "value"):
                if not str(entry.get(key, "")).strip():
                    path = f"embeds.{index}.fields.{number}.{key}"
                    raise invalid_form(path, "BASE_TYPE_REQUIRED", "This field is required")
    if total > MAX_EMBED_TOTAL:
        raise invalid_form(
            "embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000"
        )


def _embed_texts(embed: Json) -> Iterator[tuple[str, str, int]]:
    for key, limit in _EMBED_LIMITS.items():
        yield key, str(embed.get(key) or ""), limit
    yield "footer.text", str((embed.get("footer") or {}).get("text") or ""), 2048
    yield "author.name", str((embed.get("author") or {}).get("name") or ""), 256
    for number, entry in enumerate(embed.get("fields", [])):
        yield f"fields.{number}.name", str(entry.get("name") or ""), 256
        yield f"fields.{number}.value", str(entry.get("value") or ""), 1024


def walk(components: list[Json], path: str = "components") -> Iterator[tuple[str, Json]]:
    """Every component of a tree with its dotted path, parents first."""
    for index, component in enumerate(components):
        here = f"{path}.{index}"
        yield here, component
        yield from walk(component.get("components", []), f"{here}.components")
        for key in ("accessory", "component"):
            if isinstance(component.get(key), dict):
                yield f"{here}.{key}", component[key]


def number_components(components: list[Json]) -> None:
    """Gives each component that has none an id, as Discord does: 1, 2, 3 … in tree order."""
    taken = {component["id"] for _, component in walk(components) if component.get("id")}
    following = 1
    for _, component in walk(components):
        if not component.get("id"):
            while following in taken:
                following += 1
            component["id"] = following
            taken.add(following)


def check_components(components: list[Json], flags: int) -> None:
    """Limits of a message's components; the two systems (rows, layout) have different ones."""
    layout = bool(flags & COMPONENTS_V2)
    if not layout and len(components) > 5:
        raise bad_length("components", 1, 5)
    if sum(1 for _ in walk(components)) > 40:
        raise bad_length("components", 1, 40)
    seen: set[str] = set()
    for path, component in walk(components):
        kind = component.get("type")
        if kind in LAYOUT and not layout:
            raise invalid_form(path, "UNION_TYPE_CHOICES", 'Value of field "type" must be (1,).')
        custom_id = component.get("custom_id")
        if custom_id is not None:
            if custom_id in seen:
                raise invalid_form(
                    f"{path}.custom_id",
                    "COMPONENT_CUSTOM_ID_DUPLICATED",
                    "Component custom id cannot be duplicated",
                )
            seen.add(custom_id)
            if not 1 <= length(custom_id) <= 100:
                raise bad_length(f"{path}.custom_id", 1, 100)
        _check_component(path, component, kind)


def _check_component(path: str, component: Json, kind: int | None) -> None:
    if kind == ROW:
        children = component.get("components", [])
        if not 1 <= len(children) <= 5:
            raise bad_length(f"{path}.components", 1, 5)
        if any(child["type"] in SELECTS for child in children) and len(children) > 1:
            raise bad_length(f"{path}.components", 1, 1)
    elif kind == BUTTON:
        if length(component.get("label") or "") > 80:
            raise too_long(f"{path}.label", 80)
        if component.get("style") == 5:
            if not component.get("url"):
                raise invalid_form(
                    f"{path}.url", "BUTTON_COMPONENT_URL_REQUIRED", "A url is required"
                )
        elif component.get("style") != 6 and not component.get("custom_id"):
            raise invalid_form(
                f"{path}.custom_id",
                "BUTTON_COMPONENT_CUSTOM_ID_REQUIRED",
                "A custom id is required",
            )
        elif not component.get("label") and not component.get("emoji"):
            raise invalid_form(
                path, "BUTTON_COMPONENT_LABEL_REQUIRED", "A label or an emoji is required"
            )
    elif kind in SELECTS:
        _check_select(path, component)


def _check_select(path: str, component: Json) -> None:
    if length(component.get("placeholder") or "") > 150:
        raise too_long(f"{path}.placeholder", 150)
    options = component.get("options", [])
    if component["type"] == STRING_SELECT and not 1 <= len(options) <= 25:
        raise bad_length(f"{path}.options", 1, 25)
    values: set[str] = set()
    for number, option in enumerate(options):
        for key in ("label", "value"):
            if not 1 <= length(str(option.get(key) or "")) <= 100:
                raise bad_length(f"{path}.options.{number}.{key}", 1, 100)
        if length(option.get("description") or "") > 100:
            raise too_long(f"{path}.options.{number}.description", 100)
        if option["value"] in values:
            raise invalid_form(
                f"{path}.options.{number}.value",
                "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED",
                "The specified option value is already used",
            )
        values.add(option["value"])


def check_modal(modal: Json) -> None:
    """Limits of a modal: title, one to five rows or labels, text inputs in them."""
    if not 1 <= length(modal.get("title") or "") <= 45:
        raise bad_length("data.title", 1, 45)
    if not 1 <= length(modal.get("custom_id") or "") <= 100:
        raise bad_length("data.custom_id", 1, 100)
    if not 1 <= len(modal.get("components", [])) <= 5:
        raise bad_length("data.components", 1, 5)
    for path, component in walk(modal["components"], "data.components"):
        label = component.get("label")
        if component["type"] not in (TEXT_INPUT, LABEL):
            continue
        if label is not None and not 1 <= length(label) <= 45:
            raise bad_length(f"{path}.label", 1, 45)
        if component["type"] == TEXT_INPUT:
            if length(component.get("placeholder") or "") > 100:
                raise too_long(f"{path}.placeholder", 100)
            if length(component.get("value") or "") > 4000:
                raise too_long(f"{path}.value", 4000)


def check_webhook_name(name: str, path: str) -> None:
    """A webhook may not call itself just anything: 1 to 80 long, not "clyde", not "discord"."""
    if not 1 <= length(name.strip()) <= 80:
        raise bad_length(path, 1, 80)
    for word in ("clyde", "discord"):
        if word in name.casefold():
            raise invalid_form(
                path,
                "USERNAME_INVALID_CONTAINS",
                f'Username cannot contain "{word}"',
            )
