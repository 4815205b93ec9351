"""A training gives way on the CPU and waits for the GPU; the locks and the priorities are real."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from config import Config, ModelSettings, ScheduleSettings
from finetune.errors import TrainingError
from finetune.retraining import sharing
from finetune.retraining.sharing import shared_device, uses_gpu
from inference.gpu_lease import hold_for_serving, rehearsal_wanted
from tests.conftest import REPOSITORY

_GIVING_WAY = """
import json, os, shutil, subprocess, threading
from finetune.retraining.sharing import give_way

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def told(command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()

score = "/proc/self/oom_score_adj"
found, gave_way = {}, threading.Event()
def work():
    gave_way.wait()
    found["thread"] = niceness()
thread = threading.Thread(target=work)
thread.start()
give_way(11)
give_way(3)  # never up again
gave_way.set()
thread.join()
found["self"] = niceness()
found["child"] = int(told(["nice"]))
found["memory"] = told(["cat", score]) if os.path.exists(score) else "500"
found["disk"] = told(["ionice", "-p", str(os.getpid())]) if shutil.which("ionice") else ""
print(json.dumps(found))
"""


@pytest.fixture
def on_gpu(make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Config:
    """A model on a GPU, and no lowered priority: this process has other tests to run."""
    monkeypatch.setattr(sharing, "HAND_OVER_SECONDS", 30.0)
    return make_config(model=ModelSettings(device="cuda"), schedule=ScheduleSettings(niceness=0))


def test_the_whole_process_gives_way_and_its_children_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _GIVING_WAY],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found.pop("disk") in ("", "best-effort: prio 7")
    assert int(found.pop("memory")) >= 500  # it goes before the bot
    assert found == {"self": 11, "thread": 11, "child": 11}


def test_on_a_cpu_nobody_is_asked_to_go(make_config: Callable[..., Config]) -> None:
    config = make_config(model=ModelSettings(device="cpu"), schedule=ScheduleSettings(niceness=0))
    said: list[str] = []
    worker = hold_for_serving(config.paths.data)
    with shared_device(config, said.append):
        assert not rehearsal_wanted(config.paths.data)
    worker.close()
    assert said == []


def test_on_a_gpu_the_training_begins_when_the_last_worker_has_gone(on_gpu: Config) -> None:
    said: list[str] = []
    worker = hold_for_serving(on_gpu.paths.data)

    def hand_over() -> None:
        while not rehearsal_wanted(on_gpu.paths.data):
            pass
        assert said == ["Waiting for the bot to hand over the GPU."]
        worker.close()

    bot = threading.Thread(target=hand_over)
    bot.start()
    with shared_device(on_gpu, said.append):
        bot.join()
        assert rehearsal_wanted(on_gpu.paths.data)
    assert said[1:] == ["The GPU is free."]
    assert not rehearsal_wanted(on_gpu.paths.data)


def test_a_training_that_fails_gives_the_gpu_back(on_gpu: Config) -> None:
    with pytest.raises(OSError, match="disk"), shared_device(on_gpu, lambda _: None):
        raise OSError("the disk is full")
    assert not rehearsal_wanted(on_gpu.paths.data)


def test_who_does_not_hand_over_is_told_of_in_a_sentence(
    on_gpu: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "HAND_OVER_SECONDS", 0.1)
    worker = hold_for_serving(on_gpu.paths.data)
    with (
        pytest.raises(TrainingError, match=r"not handed over.*schedule.hand_over_gpu = false"),
        shared_device(on_gpu, lambda _: None),
    ):
        pytest.fail("somebody still had the GPU")
    assert not rehearsal_wanted(on_gpu.paths.data)
    with (
        pytest.raises(TrainingError, match="Stopped while waiting"),
        shared_device(on_gpu, lambda _: None, stopped=lambda: True),
    ):
        pytest.fail("somebody still had the GPU")
    worker.close()


def test_a_hand_over_that_is_not_wanted_is_not_asked_for(
    make_config: Callable[..., Config],
) -> None:
    config = make_config(
        model=ModelSettings(device="cuda"),
        schedule=ScheduleSettings(niceness=0, hand_over_gpu=False),
    )
    with shared_device(config, lambda _: None):
        assert not rehearsal_wanted(config.paths.data)


def test_which_devices_are_gpus() -> None:
    assert [uses_gpu(name) for name in ("cpu", "cuda", "cuda:1", "mps")] == [
        False,
        True,
        True,
        True,
    ]
    code = (
        "from finetune.retraining.sharing import uses_gpu; import torch, os;"
        " print(uses_gpu('auto') == (torch.cuda.is_available() or"
        " torch.backends.mps.is_available()), torch.cuda.is_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]
