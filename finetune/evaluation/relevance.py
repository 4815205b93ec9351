"""How close a reply is to what it answers, where sentence-transformers is installed."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger(__name__)

PACKAGE = "sentence_transformers"
MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"  # the suites' languages

Similarity = Callable[[Sequence[tuple[str, str]]], list[float]]


def similarity() -> Similarity | None:
    """Gives the cosine of the embeddings of user turn and reply, for many pairs at once.

    None where the package is missing, or its model is neither here nor to be had.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    embedder = _load()
    return None if embedder is None else lambda pairs: cosines(embedder, pairs)


def cosines(embedder: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """`embedder.encode(texts, normalize_embeddings=True)` gives an array (texts, dimensions)."""
    if not pairs:
        return []
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    place = {text: at for at, text in enumerate(texts)}
    vectors = embedder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return [float(vectors[place[a]] @ vectors[place[b]]) for a, b in pairs]


def _load() -> Any:
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    try:
        return SentenceTransformer(MODEL, device="cpu")
    except (OSError, ValueError) as error:
        log.warning("Relevance is not measured: %s cannot be loaded (%s).", MODEL, error)
        return None
