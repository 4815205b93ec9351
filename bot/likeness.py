"""Recall by meaning: which older messages are like a question, whatever words they use.

A help beside recall by words. Where the extra is missing, the model is slow or its process fails,
words alone decide, and nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from config import MemorySettings
from db.database import Database
from inference.embedder import Embedder, EmbeddingError, is_installed

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 0.5  # of a reply that waits for its prompt
_BATCH = 8  # messages at a time, so that a question soon gets its turn
_NEAREST = 12
_WORTH_A_LOOK = 0.7  # of the similarity that is enough; what is less like it is not even told of
_SHORTEST = 2  # words of a question that can be like anything


class _Embedder(Protocol):
    async def embed(self, texts: Sequence[str]) -> list[bytes]: ...

    async def close(self) -> None: ...


class Likeness:
    """Messages by what they mean. Use it from one event loop."""

    def __init__(
        self, settings: MemorySettings, database: Database, embedder: _Embedder | None = None
    ) -> None:
        """Without an `embedder`, one of its own if the settings want it and the extra is there."""
        wanted = settings.recall and settings.recall_embeddings
        if embedder is None and wanted and is_installed():
            embedder = Embedder()
        self._embedder = embedder if wanted else None
        self._vectors = database.vectors
        self._least = _WORTH_A_LOOK * settings.recall_similarity
        self._asking = asyncio.Lock()
        self._closed = False

    @property
    def active(self) -> bool:
        return self._embedder is not None

    async def nearest(
        self, channel_id: int, question: str, *, after: int, before: int
    ) -> dict[int, float]:
        """The messages of one stretch of the channel that are most like `question`: id → cosine.

        Only those that are near enough, or would nearly be.
        Nothing where embeddings are missing or take too long. Raises `DatabaseError`.
        """
        if self._embedder is None or len(question.split()) < _SHORTEST or before - after < 2:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                vector = await self._asked(question)
        except TimeoutError:
            log.info("The embeddings took too long; older moments are found by words alone.")
            return {}
        except EmbeddingError as error:
            log.warning("Older moments are found by words alone: %s", error)
            return {}
        found = await self._vectors.nearest(
            channel_id, vector, after=after, before=before, limit=_NEAREST
        )
        return {key: cosine for key, cosine in found if cosine >= self._least}

    async def catch_up(self) -> None:
        """Give every message that lacks one its vector. Raises `DatabaseError`."""
        if self._embedder is None or self._asking.locked():
            return  # whoever is at it takes what came meanwhile
        async with self._asking:
            while due := await self._vectors.due(_BATCH):
                texts = dict(due)
                try:
                    vectors = await self._embedder.embed(list(texts.values()))
                except EmbeddingError as error:
                    if not self._closed:
                        log.warning("Messages wait to be found by meaning: %s", error)
                    return
                await self._vectors.add(texts, dict(zip(texts, vectors, strict=True)))

    async def close(self) -> None:
        self._closed = True
        if self._embedder is not None:
            await self._embedder.close()

    async def _asked(self, question: str) -> bytes:
        """The question's vector; who stops waiting for it does not stop the process."""
        assert self._embedder is not None
        asked = asyncio.ensure_future(self._embedder.embed([question]))
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # if it is late
        [vector] = await asyncio.shield(asked)
        return vector
