"""A wish to cancel ends what goes on as SIGTERM does, and only that."""

from __future__ import annotations

import signal
import time

import pytest

from finetune.retraining.stopping import Stopper


def wait_for_ever() -> None:
    for _ in range(3000):
        time.sleep(0.01)
    raise AssertionError("nobody heard")


def test_a_wish_is_heard() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopper = Stopper(lambda: True, seconds=0.01)
    with pytest.raises(SystemExit) as stopped, stopper.listening():
        wait_for_ever()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert stopper.cancelled
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_is_no_wish() -> None:
    stopper = Stopper(lambda: False, seconds=0.01)
    with pytest.raises(SystemExit), stopper.listening():
        signal.raise_signal(signal.SIGTERM)
    assert not stopper.cancelled


def test_without_a_wish_nothing_happens() -> None:
    asked: list[int] = []

    def wanted() -> bool:
        asked.append(1)
        return False

    stopper = Stopper(wanted, seconds=0.001)
    with stopper.listening():
        while len(asked) < 3:
            time.sleep(0.001)
    seen = len(asked)
    time.sleep(0.02)
    assert len(asked) == seen  # nobody looks any more
    assert not stopper.cancelled


def test_whoever_listens_to_sigterm_already_goes_on_listening() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with Stopper(lambda: False, seconds=1.0).listening():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]
