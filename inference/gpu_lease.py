"""Who has the devices of this machine: the workers that serve, or a training that asked for them.

Two files in the data folder are locked (flock). Every worker holds `worker.lock`, shared, for as
long as its process lives; a training that wants the devices for itself holds `rehearsal.lock`,
alone. Whoever serves looks at the second and sends its workers away; the training looks at the
first and begins when nobody holds it. What the files say does not matter and nothing has to be
cleared up: the kernel lets go of a lock when its process ends, also by kill -9. Both processes must
see the same folder on one machine, as they must for the database.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WORKER_LOCK = "worker.lock"
REHEARSAL_LOCK = "rehearsal.lock"

_LOOK_SECONDS = 0.2


class Lease:
    """One lock on one file; ends with `close` or with the process."""

    def __init__(self, file: Path) -> None:
        """Raises `OSError` if the file can be neither opened nor created."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Lock the file; False if others hold it and `wait` is not set."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def hold_for_serving(data: Path) -> Lease:
    """What a worker of the folder `data` holds while it lives. Raises `OSError`."""
    lease = Lease(data / WORKER_LOCK)
    lease.take(shared=True, wait=True)  # a training looks for an instant only
    return lease


def is_served(data: Path) -> bool:
    """Whether any worker of the folder `data` lives. Raises `OSError`."""
    lease = Lease(data / WORKER_LOCK)
    try:
        return not lease.take()
    finally:
        lease.close()


def rehearsal_wanted(data: Path) -> bool:
    """Whether a training holds, or waits for, the devices of whoever serves from `data`."""
    try:
        descriptor = os.open(data / REHEARSAL_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # there never was one
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class NotHandedOver(Exception):
    """Whoever has the devices did not let go of them in time, or nobody waits any more."""


@contextmanager
def rehearsal(
    data: Path, *, patience_seconds: float, stopped: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Within, no worker of the folder `data` that heeds rehearsals has a device.

    Entered once all have let go. Raises `NotHandedOver` after `patience_seconds`, or when `stopped`
    says so, and `OSError` if the files cannot be used.
    """
    lease = Lease(data / REHEARSAL_LOCK)
    deadline = time.monotonic() + patience_seconds

    def wait_for(done: Callable[[], bool]) -> None:
        while not done():
            if stopped() or time.monotonic() >= deadline:
                raise NotHandedOver
            time.sleep(_LOOK_SECONDS)

    try:
        wait_for(lease.take)  # another training's turn comes first
        wait_for(lambda: not is_served(data))
        yield
    finally:
        lease.close()
