"""The one progress bar of a training, on standard error."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_IN_A_FILE = 10.0  # between two states of the bar where nobody watches it move


class Progress:
    """Shows steps and loss. Close it, or use it as a context."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[Any] | None = None

    def begin(self, steps: int) -> None:
        """Show the bar; until then it is not known how long it is."""
        self._bar = tqdm(
            total=steps,
            desc=self._title,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else _SECONDS_IN_A_FILE,
        )

    def step(self, loss: float) -> None:
        """One step was done, at this loss."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
