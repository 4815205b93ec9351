"""What a process says of the memory that it holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from inference import memory_use


def test_resident_memory_is_what_the_system_counts() -> None:
    told = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert told is not None
    assert memory_use.resident_bytes() == pytest.approx(int(told[1]) * 1024, rel=0.1)


def test_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Path, encoding: str) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", gone)
    assert memory_use.resident_bytes() == 0


def test_devices_are_counted_together_and_none_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert memory_use.device_bytes() == 0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: (5, 7)[device])
    assert memory_use.device_bytes() == 12
