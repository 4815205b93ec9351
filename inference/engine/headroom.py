"""How much of the batch fits into memory, as the last steps have shown."""

from __future__ import annotations

SMALLEST_CHUNK = 16
_FIRST_PATIENCE = 16  # passes
_MOST_PATIENCE = 1024


class Headroom:
    """At most `rows` replies at once, and `chunk` prompt tokens a pass.

    Lowered when memory ends, raised again a little at a time after passes that went well (additive
    increase, multiplicative decrease, as TCP does). A rise that is taken back at once doubles the
    number of passes until the next.
    """

    def __init__(self, rows: int, chunk: int) -> None:
        self.rows = self._most_rows = rows
        self.chunk = self._longest_chunk = chunk
        self._patience = _FIRST_PATIENCE
        self._calm = 0  # passes since the last change
        self._rising = False

    def lower_chunk(self, tokens: int) -> bool:
        """Halve a chunk of `tokens` that was too long; False if it cannot be shorter."""
        if tokens <= SMALLEST_CHUNK:
            return False
        self.chunk = max(tokens // 2, SMALLEST_CHUNK)
        self._set_back()
        return True

    def lower_rows(self, rows: int) -> bool:
        """At most `rows` for now; False if that is none."""
        if rows < 1:
            return False
        self.rows = rows
        self._set_back()
        return True

    def passed(self) -> None:
        """A pass had the memory it needed."""
        self._calm += 1
        if self._calm < self._patience:
            return
        self._calm = 0
        if self.rows == self._most_rows and self.chunk == self._longest_chunk:
            self._patience, self._rising = _FIRST_PATIENCE, False
            return
        self.rows = min(self.rows + 1, self._most_rows)
        self.chunk = min(2 * self.chunk, self._longest_chunk)
        self._rising = True

    def _set_back(self) -> None:
        self._calm = 0
        if self._rising:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            self._rising = False
