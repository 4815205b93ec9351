"""Stopping a run: by a signal, to go on later, or by a wish in its row, for good."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

POLL_SECONDS = 2.0


class Stopper:
    """Looks every `seconds` whether `wanted`; if so, ends this process as SIGTERM does.

    A training hears the signal itself and leaves a checkpoint first. Only in the main thread.
    """

    def __init__(self, wanted: Callable[[], bool], *, seconds: float = POLL_SECONDS) -> None:
        self._wanted = wanted
        self._seconds = seconds
        self._over = threading.Event()
        self._turn = threading.Lock()
        self.cancelled = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and the wish raise `SystemExit` inside."""
        before = signal.getsignal(signal.SIGTERM)
        if before == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _leave)
        self._over.clear()
        thread = threading.Thread(target=self._look, name="retrain-cancel", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._turn:
                self._over.set()
            thread.join()
            signal.signal(signal.SIGTERM, before)

    def _look(self) -> None:
        while not self._over.wait(self._seconds):
            if not self._wanted():
                continue
            with self._turn:
                if not self._over.is_set():
                    self.cancelled = True
                    os.kill(os.getpid(), signal.SIGTERM)
            return


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
