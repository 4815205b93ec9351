"""Who is in which row of the batch, and who waits for one."""

from __future__ import annotations

from inference.engine.adapter_store import AdapterStore
from inference.engine.kv_cache import KvCache
from inference.engine.sampler import Sampler
from inference.engine.schedule import Row


class Batch:
    """All replies, oldest first, and the rows that some of them have.

    A reply that gets or leaves a row, or moves to another, takes along what it has in the cache,
    in the sampler and in the adapters' columns.
    """

    def __init__(self, rows: int, kv: KvCache, sampler: Sampler, adapters: AdapterStore) -> None:
        self.rows: list[Row | None] = [None] * rows
        self.replies: list[Row] = []
        self._kv = kv
        self._sampler = sampler
        self._adapters = adapters

    @property
    def placed(self) -> list[Row]:
        """Those that have a row, oldest first."""
        return [row for row in self.replies if row.index is not None]

    @property
    def waiting(self) -> list[Row]:
        return [row for row in self.replies if row.index is None]

    def __getitem__(self, index: int) -> Row:
        row = self.rows[index]
        assert row is not None, "a row that was given work is in the batch"
        return row

    def find(self, request_id: str) -> Row | None:
        return next((row for row in self.replies if row.request.id == request_id), None)

    def place(self, row: Row) -> None:
        """Give a reply that waits the first free row; if that fails, nothing has changed."""
        index, asked = self.rows.index(None), row.request
        try:
            self._sampler.begin(index, asked.prompt, asked.sampling, asked.seed, row.generated)
        except BaseException:
            self._sampler.end(index)
            raise
        row.index, self.rows[index] = index, row

    def leave(self, row: Row) -> None:
        """Take a reply out of its row; it waits, and goes on where it is once it is placed."""
        index = row.place
        self._sampler.end(index)
        self.rows[index] = None
        if row.seated and row.plan is not None:
            self._adapters.release(row.plan)
        row.wait()

    def close_gap(self, empty: int) -> bool:
        """Move the last row down if `empty` rows or more are free below it; whether it did."""
        placed = self.placed
        last = max((row.place for row in placed), default=-1)
        if last + 1 - len(placed) < max(empty, 1):
            return False
        gap, row = self.rows.index(None), self[last]
        self._kv.move(last, gap, row.written)
        self._sampler.move(last, gap)
        self.rows[gap], self.rows[last], row.index = row, None, gap
        return True
