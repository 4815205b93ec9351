"""What messages mean, as vectors, to find those that are alike; in one channel and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence

from db.connection import SerialConnection

log = logging.getLogger(__name__)

MOST_COMPARED = 4000  # messages, the newest; each costs a microsecond or so

_LOOKED_THROUGH = 2000  # ids at a time, in the search for messages without a vector
_LOOKED_BACK = 1000  # newest ids, where replies are still written and edited


class Vectors:
    """One vector of signed bytes for a message. Every method raises `DatabaseError`.

    They belong to their messages: a vector goes with the message, and when its text changes. Its
    distance to others is computed by sqlite-vec where this Python's SQLite can load extensions, and
    by numpy elsewhere. The table is made by whoever first has vectors to keep, not by a migration:
    most databases never need it.
    """

    def __init__(self, connection: SerialConnection) -> None:
        self._connection = connection
        self._exists = False
        self._looked_up_to = 0
        self._in_sqlite: bool | None = None  # not tried yet

    async def due(self, limit: int) -> list[tuple[int, str]]:
        """Ids and texts of up to `limit` messages that lack a vector; empty once none is left.

        What was edited long after it was said counts again after the next start.
        """
        await self._make_table()
        [row] = await self._connection.rows(NEWEST)
        newest = row["id"] or 0
        while True:
            since, until = self._looked_up_to, self._looked_up_to + _LOOKED_THROUGH
            found = await self._connection.rows(WITHOUT, (since, until, limit))
            if found or until >= newest:
                break
            self._looked_up_to = until
        if not found:
            self._looked_up_to = max(0, newest - _LOOKED_BACK)
        return [(row["id"], row["content"]) for row in found]

    async def add(self, texts: Mapping[int, str], vectors: Mapping[int, bytes]) -> None:
        """Keep `vectors` of messages that still say what they said in `texts`."""
        async with self._connection.transaction() as connection:
            await connection.executemany(
                ADD, [(vector, key, texts[key]) for key, vector in vectors.items()]
            )

    async def nearest(
        self, channel_id: int, vector: bytes, *, after: int, before: int, limit: int
    ) -> list[tuple[int, float]]:
        """Ids and cosines of the channel's messages that are most alike, the nearest first.

        Of those whose place is between `after` and `before`, both excluded.
        """
        await self._make_table()
        stretch = (channel_id, after, before, MOST_COMPARED)
        if self._in_sqlite is None:
            self._in_sqlite = await self._load_extension()
        if self._in_sqlite:
            rows = await self._connection.rows(COMPARED, (vector, *stretch))
            found = [(int(row["id"]), float(row["similarity"])) for row in rows]
        else:
            rows = await self._connection.rows(ALL, stretch)
            found = await asyncio.to_thread(_compared, rows, vector)
        return sorted(found, key=lambda one: (-one[1], -one[0]))[:limit]

    async def _make_table(self) -> None:
        if not self._exists:
            async with self._connection.transaction() as connection:
                for statement in TABLE:
                    await connection.execute_fetchall(statement)
            self._exists = True

    async def _load_extension(self) -> bool:
        try:
            import sqlite_vec  # type: ignore[import-not-found]
        except ImportError:
            return False
        try:
            await self._connection.load_extension(sqlite_vec.loadable_path())
        except (AttributeError, sqlite3.Error) as error:
            # Many Pythons are built without; sqlite-vec's own documentation says so.
            log.info("This Python's SQLite takes no extensions (%s); numpy compares.", error)
            return False
        return True


def _compared(rows: Sequence[sqlite3.Row], vector: bytes) -> list[tuple[int, float]]:
    import numpy as np  # not worth its memory where nobody uses embeddings

    if not rows:
        return []
    asked = np.frombuffer(vector, np.int8).astype(np.float32)
    held = np.frombuffer(b"".join(row["vector"] for row in rows), np.int8)
    matrix = held.reshape(len(rows), -1).astype(np.float32)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(asked)
    cosines = matrix @ asked / np.maximum(lengths, 1e-9)
    return [(row["id"], float(cosine)) for row, cosine in zip(rows, cosines, strict=True)]


TABLE = (
    """CREATE TABLE IF NOT EXISTS embeddings (
        message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
        vector     BLOB NOT NULL  -- signed bytes; of length 127
    ) STRICT""",
    """CREATE TRIGGER IF NOT EXISTS embeddings_follow_changes AFTER UPDATE OF content ON messages
        WHEN OLD.content <> NEW.content
    BEGIN
        DELETE FROM embeddings WHERE message_id = NEW.id;
    END""",
)
NEWEST = "SELECT max(id) AS id FROM messages"
WITHOUT = """
    SELECT m.id, m.content FROM messages AS m
    WHERE m.id > ? AND m.id <= ? AND m.state = 'complete' AND m.passing = 0
      AND NOT EXISTS (SELECT 1 FROM embeddings AS e WHERE e.message_id = m.id)
    ORDER BY m.id LIMIT ?"""
ADD = """
    INSERT OR REPLACE INTO embeddings (message_id, vector)
    SELECT id, ?1 FROM messages WHERE id = ?2 AND content = ?3 AND state = 'complete'"""
# CROSS: the channel's messages first, then their vectors, whatever SQLite thinks of the tables.
_STRETCH = """
    FROM messages AS m CROSS JOIN embeddings AS e ON e.message_id = m.id
    WHERE m.channel_id = ? AND m.place > ? AND m.place < ?
    ORDER BY m.place DESC LIMIT ?"""
ALL = f"SELECT m.id, e.vector {_STRETCH}"
COMPARED = f"""
    SELECT m.id, 1 - vec_distance_cosine(vec_int8(e.vector), vec_int8(?)) AS similarity
    {_STRETCH}"""
