"""The progress bars of a training, on standard error."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_IN_A_FILE = 10.0  # between two states of the bar where nobody watches it move


class Progress:
    """Shows steps, loss and learning rate. Close it, or use it as a context."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        self._shown = shown
        self._title = title
        self._phase = ""
        self._bar: tqdm[Any] | None = None

    def phase(self, name: str) -> None:
        """What the next bar is about."""
        self._phase = f" ({name})" if name else ""

    def begin(self, steps: int, *, done: int = 0) -> None:
        """Show a bar; until then it is not known how long it is."""
        self._close()
        self._bar = tqdm(
            total=steps,
            initial=done,
            desc=f"{self._title}{self._phase}",
            unit="step",
            file=sys.stderr,
            disable=not self._shown,
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else _SECONDS_IN_A_FILE,
        )

    def step(self, loss: float, learning_rate: float) -> None:
        """One step was done, at this loss."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}, lr {learning_rate:.1e}", refresh=False)
            self._bar.update()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
