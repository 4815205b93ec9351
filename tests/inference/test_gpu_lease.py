"""Who has the devices: locks that real processes hold, and leave by dying."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from inference.gpu_lease import (
    NotHandedOver,
    hold_for_serving,
    is_served,
    rehearsal,
    rehearsal_wanted,
)
from tests.conftest import REPOSITORY

_WORKER = "from inference.gpu_lease import hold_for_serving as hold; hold(Path(sys.argv[1]))"
_TRAINING = (
    "from inference.gpu_lease import rehearsal; r = rehearsal(Path(sys.argv[1]),"
    " patience_seconds=60); r.__enter__()"
)


def _process(code: str, data: Path) -> subprocess.Popen[str]:
    """A process that runs `code`, says so, and waits to be killed."""
    whole = f"import sys, time; from pathlib import Path; {code}; print('has it', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{whole}; time.sleep(600)", str(data)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_where_nothing_ever_ran_nothing_is_held(tmp_path: Path) -> None:
    assert not rehearsal_wanted(tmp_path / "none")
    assert not is_served(tmp_path / "made")
    with rehearsal(tmp_path / "made", patience_seconds=0):
        assert rehearsal_wanted(tmp_path / "made")
    assert not rehearsal_wanted(tmp_path / "made")


def test_many_workers_serve_side_by_side(tmp_path: Path) -> None:
    first, second = hold_for_serving(tmp_path), hold_for_serving(tmp_path)
    assert is_served(tmp_path)
    first.close()
    first.close()
    assert is_served(tmp_path)
    second.close()
    assert not is_served(tmp_path)


def test_a_training_begins_when_the_last_worker_is_killed(tmp_path: Path) -> None:
    workers = [_process(_WORKER, tmp_path) for _ in range(2)]
    begun, looked = threading.Event(), threading.Event()

    def train() -> None:
        with rehearsal(tmp_path, patience_seconds=60):
            begun.set()
            looked.wait(60)

    training = threading.Thread(target=train)
    training.start()
    try:
        while not rehearsal_wanted(tmp_path):
            assert training.is_alive()
        _kill(workers[0])
        assert is_served(tmp_path)
        assert not begun.is_set()
        _kill(workers[1])
        assert begun.wait(60)
        assert rehearsal_wanted(tmp_path)
    finally:
        looked.set()
        training.join()
    assert not rehearsal_wanted(tmp_path)


def test_a_killed_training_leaves_nothing_behind(tmp_path: Path) -> None:
    training = _process(_TRAINING, tmp_path)
    assert rehearsal_wanted(tmp_path)
    with pytest.raises(NotHandedOver), rehearsal(tmp_path, patience_seconds=0.3):
        pytest.fail("two trainings had the devices at once")
    _kill(training)
    assert not rehearsal_wanted(tmp_path)
    with rehearsal(tmp_path, patience_seconds=0):
        assert rehearsal_wanted(tmp_path)


def test_whoever_is_told_to_stop_does_not_wait_on(tmp_path: Path) -> None:
    worker = hold_for_serving(tmp_path)
    with (
        pytest.raises(NotHandedOver),
        rehearsal(tmp_path, patience_seconds=600, stopped=lambda: True),
    ):
        pytest.fail("the worker still had the devices")
    assert not rehearsal_wanted(tmp_path)
    worker.close()


def test_a_training_does_not_take_from_its_own_workers(tmp_path: Path) -> None:
    """The evaluation inside a rehearsal has a worker of its own."""
    with rehearsal(tmp_path, patience_seconds=0):
        own = hold_for_serving(tmp_path)
        assert is_served(tmp_path)
        own.close()
