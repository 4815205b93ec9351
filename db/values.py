"""How values from outside become values that SQLite can hold."""

from __future__ import annotations

import json
import re

_SURROGATES = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate, which UTF-8, and so SQLite, cannot encode."""
    return _SURROGATES.sub("\ufffd", text)


def storable_or_none(text: str | None) -> str | None:
    """`storable` for a column that may be NULL."""
    return None if text is None else storable(text)


def to_json(values: dict[str, object]) -> str:
    """A JSON object for a TEXT column, readable as it stands there."""
    return storable(json.dumps(values, ensure_ascii=False))
