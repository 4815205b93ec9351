"""Cards as files again: the same bytes where nothing changed, other versions, and edits.

What stays is not respelt: see `persona_prompts.cards` for what "byte for byte" means.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from persona_prompts.cards.card import KEYWORDS, Card, Spec, from_json, parse_card
from persona_prompts.cards.document import (
    Member,
    elements,
    list_text,
    members,
    object_text,
    spelt,
)
from persona_prompts.cards.fields import V1_FIELDS, V3DataFields
from persona_prompts.cards.png import Png
from persona_prompts.errors import CharacterError
from persona_prompts.lorebook.decorators import without_decorators

_EMPTY = ('""', "[]", "{}")
_Members = dict[str, Member]

_SPEC_VALUES: dict[Spec, tuple[str, str]] = {
    "v2": ("chara_card_v2", "2.0"),
    "v3": ("chara_card_v3", "3.0"),
}
# What a version demands of `data`, and what stands there until somebody fills it in.
_DEMANDED_V2: dict[str, object] = {
    **dict.fromkeys(V1_FIELDS, ""), "creator_notes": "", "system_prompt": "",
    "post_history_instructions": "", "alternate_greetings": [], "tags": [], "creator": "",
    "character_version": "", "extensions": {},
}  # fmt: skip
_DEMANDED: dict[Spec, dict[str, object]] = {
    "v1": dict.fromkeys(V1_FIELDS, ""),
    "v2": _DEMANDED_V2,
    "v3": {**_DEMANDED_V2, "group_only_greetings": []},
}
_DEMANDED_OF_AN_ENTRY: dict[str, object] = {
    "keys": [], "content": "", "extensions": {}, "enabled": True, "insertion_order": 0,
    "use_regex": False,
}  # fmt: skip


def json_bytes(card: Card, spec: Spec | None = None) -> bytes:
    """The card as a JSON file, in its own version or another.

    V1 has everything at the top; going there and back restores what V2 or V3 held. Going from V3
    to V2 takes the decorators, which V2 programs would show to the model, out of the lorebook.
    """
    if spec is None or spec == card.spec:
        return card.payload
    top, data = _parts(card)
    if spec == "v2" and card.spec == "v3":
        _change_entries(data, _plain_entry)
    if spec == "v3":
        _change_entries(data, _complete_entry)
    return _joined(top, data, spec).encode("utf-8")


def png_bytes(card: Card, spec: Spec | None = None, picture: Png | None = None) -> bytes:
    """The card as a PNG file: in `picture`, or in the one it came in.

    Every chunk but `chara` and `ccv3` stays as it is. Raises `CharacterError` if there is no
    picture.
    """
    frame = picture or card.png
    if frame is None:
        raise CharacterError("The card is a JSON file without a picture; name a PNG to put it in.")
    spec = spec or card.spec
    if spec == card.spec and frame is card.png:
        return card.source
    keyword = "ccv3" if spec == "v3" else "chara"
    return frame.with_texts(KEYWORDS, {keyword: base64.b64encode(json_bytes(card, spec))})


def new_card(fields: Mapping[str, Any], label: str = "The card") -> Card:
    """A V3 card of these fields of `data`. Raises `CharacterError` if one of them is wrong."""
    data = {key: Member.of(key, value) for key, value in fields.items()}
    return from_json(_joined({}, data, "v3").encode("utf-8"), label)


def edited(card: Card, changes: Mapping[str, Any], label: str = "The card") -> Card:
    """The card with some fields of `data` (of V1: of the top) set anew, all others as spelt.

    `changes` are values as JSON has them; a picture and its other chunks stay. Copies of V1 fields
    that some programs write beside V2's `data` follow. Raises `CharacterError` for a wrong value.
    """
    top = members(card.text)
    if card.spec == "v1":
        text = object_text(_changed(top, changes))
    else:
        data = members(top["data"].value)
        stale = {k: v for k, v in changes.items() if k in V1_FIELDS and k in top}
        top = _changed(top, stale)
        inner = object_text(_changed(data, changes), 2)
        text = object_text({**top, "data": Member(top["data"].key, inner)})
    payload = text.encode("utf-8")
    fresh = from_json(payload, label)
    if card.png is None:
        return fresh
    keyword = "ccv3" if card.spec == "v3" else "chara"
    content = card.png.with_texts(KEYWORDS, {keyword: base64.b64encode(payload)})
    return parse_card(content, label)


def embedded_assets(card: Card) -> list[str]:
    """Paths of the assets in the card's PNG, which a JSON file cannot hold."""
    if card.png is None:
        return []
    marker = "chara-ext-asset_"
    return [word for _, word, _ in card.png.texts() if word.startswith(marker)]


def _changed(found: _Members, changes: Mapping[str, Any]) -> _Members:
    changed = dict(found)
    for key, value in changes.items():
        if key in changed:
            changed[key] = Member(changed[key].key, spelt(value))
        else:
            changed[key] = Member.of(key, value)
    return changed


def _parts(card: Card) -> tuple[_Members, _Members]:
    """What stands at the top beside `data`, and in it.

    All of V1 becomes data, but for what V1 does not know and later versions have otherwise, such
    as tags in one text.
    """
    top = members(card.text)
    if card.spec == "v1":
        misfits = {key: member for key, member in top.items() if not _fits(key, card.value[key])}
        return misfits, {key: member for key, member in top.items() if key not in misfits}
    data = members(top["data"].value)
    beside = {k: m for k, m in top.items() if k not in ("spec", "spec_version", "data")}
    return beside, data


def _fits(key: str, value: Any) -> bool:
    """Whether a field of V1 may stand under `data`; what no version knows may."""
    if key in ("spec", "spec_version", "data"):
        return False
    try:
        V3DataFields.model_validate({"name": "x", key: value})
    except ValidationError:
        return key not in V3DataFields.model_fields
    return True


def _joined(top: _Members, data: _Members, spec: Spec) -> str:
    demanded = {key: Member.of(key, value) for key, value in _DEMANDED[spec].items()}
    whole = {**data, **{k: m for k, m in demanded.items() if k not in data}}
    if spec == "v1":
        # Copies of V1 fields beside `data` give way to the fields themselves, what else is called
        # alike only to what says something.
        silent = {k for k in top.keys() - {*V1_FIELDS} if k in whole and whole[k].value in _EMPTY}
        gone = whole.keys() - silent
        return object_text({**whole, **{k: m for k, m in top.items() if k not in gone}})
    name, version = _SPEC_VALUES[spec]
    beside = {key: m for key, m in top.items() if key not in ("spec", "spec_version", "data")}
    inner = Member('"data"', object_text(whole, 2))
    head = {"spec": Member.of("spec", name), "spec_version": Member.of("spec_version", version)}
    return object_text({**head, **beside, "data": inner})


def _change_entries(data: _Members, change: Callable[[_Members], _Members]) -> None:
    """Apply `change` to the members of every entry of the lorebook, if there is one."""
    book = data.get("character_book")
    if book is None or not book.value.startswith("{"):
        return
    inside = members(book.value)
    if "entries" in inside:
        texts = (members(text) for text in elements(inside["entries"].value))
        entries = [object_text(change(entry), 8) for entry in texts]
        inside["entries"] = Member(inside["entries"].key, list_text(entries))
    data["character_book"] = Member(book.key, object_text(inside, 4))


def _complete_entry(entry: _Members) -> _Members:
    missing = {k: v for k, v in _DEMANDED_OF_AN_ENTRY.items() if k not in entry}
    return {**entry, **{key: Member.of(key, value) for key, value in missing.items()}}


def _plain_entry(entry: _Members) -> _Members:
    content = entry.get("content")
    if content is None or "@@" not in content.value:
        return entry
    plain = without_decorators(json.loads(content.value))
    return {**entry, "content": Member(content.key, spelt(plain))}
