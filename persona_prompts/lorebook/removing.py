"""Entries taken out of the JSON of a lorebook; all else in it stays as it is spelt."""

from __future__ import annotations

import json
from collections.abc import Callable

from persona_prompts.cards.document import Member, elements, list_text, members, object_text

_GONE = "{}"  # in the place of an entry, which the entries behind it are counted by

# What becomes of an entry, given its number and its text; None: it is left out.
_Change = Callable[[int, str], str | None]


def without_entry(text: str, id: int) -> str:
    """The lorebook `text`, which `read_book` accepted, without what its entry `id` says.

    The other entries keep their ids.
    """
    return _changed(text, lambda number, entry: _GONE if number == id else entry)


def without_gaps(text: str) -> str:
    """The lorebook `text` without the gaps that `without_entry` left, so its ids count anew."""
    return _changed(text, lambda _, entry: None if entry == _GONE else entry)


def _changed(text: str, change: _Change) -> str:
    found = members(text)
    spec = found.get("spec")
    if spec is None or json.loads(spec.value) != "lorebook_v3":
        return _book_changed(text, change)
    data = found["data"]
    return object_text({**found, "data": Member(data.key, _book_changed(data.value, change))})


def _book_changed(text: str, change: _Change) -> str:
    found = members(text)
    entries = found["entries"]
    changed = _list_changed if entries.value.startswith("[") else _object_changed
    return object_text({**found, "entries": Member(entries.key, changed(entries.value, change))})


def _list_changed(text: str, change: _Change) -> str:
    after = [change(number, entry) for number, entry in enumerate(elements(text))]
    return list_text([entry for entry in after if entry is not None])


def _object_changed(text: str, change: _Change) -> str:
    found = members(text)
    # Of a key that is given twice, `found` has the last place, and a reader of JSON the first.
    ordered = [found[key] for key in json.loads(text)]
    after = [(entry.key, change(number, entry.value)) for number, entry in enumerate(ordered)]
    return object_text({key: Member(key, entry) for key, entry in after if entry is not None})
