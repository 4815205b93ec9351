"""Names and places that no list knows, found by presidio where it is installed."""

from __future__ import annotations

import importlib
from typing import Any

from finetune.errors import InputError

_KINDS = {"PERSON": "person", "LOCATION": "place"}
_LEAST_SCORE = 0.5

Found = tuple[int, int, str]


class Entities:
    """Finds people and places in English texts."""

    def __init__(self) -> None:
        """Raises `InputError` where presidio or its language model is not installed."""
        try:
            presidio = importlib.import_module("presidio_analyzer")
        except ImportError:
            raise InputError(
                "--pii needs presidio; install it with: pip install -e '.[pii]'"
            ) from None
        try:
            self._engine: Any = presidio.AnalyzerEngine()
        # spaCy ends the process where its model is missing and cannot be fetched.
        except (OSError, ImportError, ValueError, SystemExit) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                "presidio found no language model; install one with: python -m spacy download"
                f" en_core_web_lg ({first_line})"
            ) from None

    def find(self, text: str) -> list[Found]:
        """Start, end and kind (`person`, `place`) of each, in order and without overlaps."""
        hits = self._engine.analyze(text=text, language="en", entities=list(_KINDS))
        found: list[Found] = []
        for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
            if hit.score >= _LEAST_SCORE and (not found or hit.start >= found[-1][1]):
                found.append((hit.start, hit.end, _KINDS[hit.entity_type]))
        return found
