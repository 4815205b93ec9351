"""A training that shares its machine politely with the bot that serves on it."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config import Config
from finetune.errors import TrainingError
from inference.gpu_lease import NotHandedOver, rehearsal

Say = Callable[[str], None]

HAND_OVER_SECONDS = 600.0  # the longest reply under way, with room to spare
_LOWEST_PRIORITY = 7  # of best effort, 0 to 7
_OUT_OF_MEMORY = 500  # -1000 to 1000: how much sooner than others the kernel takes this process


@contextmanager
def shared_device(
    config: Config, say: Say, *, stopped: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Within, this process may use the model's device without harm to those who wait for replies.

    Its priority on the CPU falls, and stays low: a process cannot raise it again. On a GPU, unless
    `schedule.hand_over_gpu` is off, the bot first frees it and gets it back in the end, however
    this process ends; on a CPU both go on side by side.

    Raises `TrainingError` if the GPU is not handed over within ten minutes, or `stopped` says to
    wait no longer.
    """
    give_way(config.schedule.niceness)
    if not config.schedule.hand_over_gpu or not uses_gpu(config.model.device):
        yield
        return
    say("Waiting for the bot to hand over the GPU.")
    entered = False
    try:
        with rehearsal(config.paths.data, patience_seconds=HAND_OVER_SECONDS, stopped=stopped):
            entered = True
            say("The GPU is free.")
            try:
                yield
            finally:
                release_memory()  # before the bot loads its model again
    except NotHandedOver:
        if entered:
            raise
        raise TrainingError(_not_handed_over(stopped())) from None
    except OSError as error:
        if entered:
            raise
        raise TrainingError(
            f"The locks in {config.paths.data} cannot be used ({error.strerror or error}); check"
            " its permissions, or set schedule.hand_over_gpu = false."
        ) from None


def _not_handed_over(stopped: bool) -> str:
    if stopped:
        return "Stopped while waiting for the GPU."
    return (
        f"The GPU was not handed over within {HAND_OVER_SECONDS / 60:.0f} minutes; stop what else"
        " uses it from the same paths.data, or set schedule.hand_over_gpu = false."
    )


def uses_gpu(device: str) -> bool:
    """Whether `model.device` comes to a GPU here. Does not claim any of its memory."""
    if device != "auto":
        return device != "cpu"
    # Asks the driver's library instead of beginning to use the devices: which of them this process
    # may see is decided later.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def give_way(niceness: int) -> None:
    """Lower this process's priority for CPU and disk to `niceness` (0 to 19), never raise it.

    Where memory runs out it goes before the bot, whoever started it. On Linux each thread has its
    own priority, and new ones take after the thread that starts them.
    """
    if niceness == 0:
        return
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [os.getpid()]
    for thread in threads:
        with suppress(ProcessLookupError):  # it ended meanwhile
            if os.getpriority(os.PRIO_PROCESS, thread) < niceness:
                os.setpriority(os.PRIO_PROCESS, thread, niceness)
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # not Linux
        if int(score.read_text()) < _OUT_OF_MEMORY:
            score.write_text(str(_OUT_OF_MEMORY))
    if ionice := shutil.which("ionice"):
        # Best effort, not idle: what waits for the disk there may wait for ever, and it could hold
        # the database's lock meanwhile. Where containers forbid it, things go on without.
        command = [ionice, "-t", "-c", "best-effort", "-n", str(_LOWEST_PRIORITY), "-p"]
        subprocess.run([*command, *map(str, threads)], check=False, capture_output=True)


def release_memory() -> None:
    """Give back what torch keeps of the GPU's memory for later."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
