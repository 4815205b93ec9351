"""Compiles kernels, and keeps them on the disk from one start of the worker to the next.

numba's own cache may be written by several processes at once, and then, or when one of them is
killed as it writes, an entry can lead to the code of another. So every set of kernels is compiled
in a new folder, which gets its name once it is complete and is never written to again.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

log = logging.getLogger(__name__)

_ABANDONED_SECONDS = 3600.0
_lock = threading.Lock()  # numba's settings are the process's

Compile = Callable[[bool], Sequence[Any]]


def kept(compile_all: Compile, source: Path, name: str) -> Sequence[Any]:
    """What `compile_all` gives, which is told whether to keep it; quicker from the second time on.

    `source` is the file that all of it depends on, `name` tells apart what is made of one file. If
    it cannot be kept, everything is compiled anew at every start.
    """
    with _lock:
        folder = source.parent / "__pycache__" / f"{source.stem}-{name}-{_key(source)}"
        if folder.is_dir():
            try:
                return _compile_in(folder, compile_all)
            except Exception:  # damaged bytes raise whatever they happen to mean
                log.warning("%s is damaged, so it is made anew.", folder, exc_info=True)
                shutil.rmtree(folder, ignore_errors=True)
        try:
            return _compile_and_keep(folder, compile_all)
        except OSError as error:
            log.info("Compiled steps cannot be kept in %s: %s", folder.parent, error)
        return compile_all(False)


def _compile_and_keep(folder: Path, compile_all: Compile) -> Sequence[Any]:
    folder.parent.mkdir(exist_ok=True)
    prefix = folder.name.rpartition("-")[0]
    staging = Path(tempfile.mkdtemp(prefix=f".{prefix}-", dir=folder.parent))
    try:
        found = _compile_in(staging, compile_all)
        _remove_old(folder, prefix)
        if not folder.exists():  # or another process was quicker
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _compile_in(folder: Path, compile_all: Compile) -> Sequence[Any]:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return compile_all(True)
    finally:
        numba.config.CACHE_DIR = before


def _remove_old(folder: Path, prefix: str) -> None:
    """What was made of earlier versions of the source, or by processes that were killed."""
    for other in folder.parent.glob(f"{prefix}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    for other in folder.parent.glob(f".{prefix}-*"):
        if other.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)


def _key(source: Path) -> str:
    """Differs wherever numba would not take what was compiled before."""
    processor = llvmlite.binding.get_host_cpu_name()
    features = llvmlite.binding.get_host_cpu_features().flatten()
    versions = f"{numba.__version__} {platform.python_version()} {processor} {features}"
    status = source.stat()
    stamp = f"{source.resolve()} {status.st_mtime_ns} {status.st_size} {versions}"
    return hashlib.sha256(stamp.encode() + source.read_bytes()).hexdigest()[:16]
