"""The machine that the figures come from, what it can read per second, and who else uses it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_BYTES = 1 << 29  # far larger than any cache
_REPEATS = 5
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


def describe() -> str:
    """One line: processor, cores, versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    python = platform.python_version()
    return f"{_processor()}, {os.cpu_count()} cores{gpu}; Python {python}, {versions}"


def read_bandwidth(device: torch.device) -> float:
    """Bytes per second that `device` reads at best, over kernels that only read."""
    data = torch.ones(_BYTES // 4, device=device)
    best = 0.0
    threads = torch.get_num_threads()
    for count in {1, threads, os.cpu_count() or 1} if device.type == "cpu" else {threads}:
        torch.set_num_threads(count)
        kernels: list[Callable[[], Any]] = [data.sum, data.amax, lambda: torch.dot(data, data)]
        for kernel in kernels:
            for _ in range(_REPEATS):
                started = now(device)
                kernel()
                best = max(best, _BYTES / (now(device) - started))
    torch.set_num_threads(threads)
    return best


def now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_peak(device: torch.device) -> None:
    """Begin to watch the most memory that this process has from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_mb(device: torch.device) -> float:
    """The most memory since `forget_peak`: on a GPU torch's there, else what was resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Load:
    """CPU seconds so far: of the whole machine, and of this process with its children."""

    wall: float
    machine: float
    own: float

    @classmethod
    def here(cls) -> Load:
        return cls(time.perf_counter(), _machine_seconds(), _own_seconds())

    def others_since(self, before: Load) -> float:
        """Cores that somebody else kept busy between `before` and now."""
        busy = (self.machine - before.machine) - (self.own - before.own)
        return max(busy, 0.0) / max(self.wall - before.wall, 1e-9)


def _machine_seconds() -> float:
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0
    user, nice, system, _idle, _wait, *rest = map(int, file.read_text().split("\n")[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / _TICK


def _own_seconds() -> float:
    """Of this process, its living descendants, and its children that have ended."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        process = int(file.parent.name)
        parents[process] = int(fields[1])
        used[process] = (int(fields[11]) + int(fields[12])) / _TICK
    for process in parents:
        above = parents[process]
        while above > 1 and above != os.getpid():
            above = parents.get(above, 0)
        if above == os.getpid():
            total += used[process]
    return total


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return " / ".join(sorted(names)) or platform.processor() or platform.machine()
