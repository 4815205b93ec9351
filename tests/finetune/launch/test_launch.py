"""The shipped configurations, and two CPU processes that train what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from finetune.__main__ import _parser as main_parser
from inference.adapters import AdapterRegistry
from tests.conftest import REPOSITORY
from tests.finetune.conftest import MakePlace, Place, environment

_DATA = ["--data_path", "set.json"]
_LAUNCH = REPOSITORY / "finetune" / "launch"
_ROWS = [
    {"instruction": f"What is ship {i}?", "output": f"Ship {i}, the Saltlight." + " Aye." * (i % 4)}
    for i in range(8)
]


def _variables(file: str) -> dict[str, str]:
    """What `accelerate launch --config_file FILE` tells the processes of the sharding."""
    options = launch_command_parser().parse_args(
        ["--config_file", str(_LAUNCH / file), "-m", "finetune"]
    )
    chosen, *_ = _validate_launch_command(options)
    given = prepare_multi_gpu_env(chosen).items()
    return {k: v for k, v in given if k.startswith(("FSDP", "ACCELERATE_USE"))}


def _train(
    place: Place, processes: int, module: str, variables: dict[str, str], *more: str
) -> subprocess.CompletedProcess[str]:
    data = place.file.parent / "ships.json"
    data.write_text(json.dumps(_ROWS), encoding="utf-8")
    several = [*("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))]
    return subprocess.run(
        [
            *(sys.executable, *(several if processes > 1 else [])),
            *("-m", module, "train", "--config", str(place.file), "--data_path", str(data)),
            *(
                "--name",
                "ships",
                "--num_epochs",
                "2",
                "--learning_rate",
                "1e-2",
                "--batch_size",
                "4",
                "--seed",
                "3",
            ),
            *("--micro_batch_size", "1", "--cutoff_len", "256", "--json", *more),
        ],
        cwd=REPOSITORY,
        env={**environment(), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _adapter(done: subprocess.CompletedProcess[str]) -> dict[str, torch.Tensor]:
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()  # once, by the first process
    assert done.stderr.count("Loading ") == 1
    return load_file(Path(json.loads(line)["folder"]) / "adapter_model.safetensors")


@pytest.mark.slow
def test_two_processes_train_what_one_does(make_place: MakePlace) -> None:
    place = make_place()
    text = place.file.read_text("utf-8") + '\ndtype = "float32"\n'
    place.file.write_text(text, encoding="utf-8")
    one = _adapter(_train(place, 1, "finetune", {}))
    sharded = _variables("fsdp.yaml")
    assert sharded["ACCELERATE_USE_FSDP"] == "true"
    assert sharded["FSDP_VERSION"] == "2"
    for module, variables in (
        ("finetune", {}),
        ("tests.finetune.launch.sharded_on_cpu", sharded),
    ):
        two = _adapter(_train(place, 2, module, variables))
        assert two.keys() == one.keys()
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=0, msg=name)
    assert AdapterRegistry(place.config.adapters_dir).versions("ships") == [1, 2, 3]
    assert max(tensor.abs().max() for name, tensor in one.items() if "lora_B" in name) > 5e-3


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_said_once(make_place: MakePlace) -> None:
    done = _train(make_place(), 2, "finetune", {}, "--batch_size", "3")
    assert done.returncode != 0
    assert done.stdout == ""
    sentence = "batch_size = 3 cannot be divided into parts of micro_batch_size = 1 for each of 2"
    assert done.stderr.count(sentence) == 1


@pytest.mark.parametrize(
    ("file", "kind"),
    [("ddp.yaml", "MULTI_GPU"), ("fsdp.yaml", "FSDP"), ("zero3.yaml", "DEEPSPEED")],
)
def test_accelerate_takes_the_files(file: str, kind: str) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config: Any = ClusterConfig.from_yaml_file(_LAUNCH / file)  # refuses unknown keys
    assert config.distributed_type.value == kind
    if config.deepspeed_config:
        shipped = REPOSITORY / config.deepspeed_config["deepspeed_config_file"]
        assert shipped == _LAUNCH / "zero3.json"


def _documented() -> list[list[str]]:
    """The command lines of the page on several GPUs, word by word."""
    page = (REPOSITORY / "docs" / "training_on_several_gpus.md").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].split() for line in page.splitlines()]
    return [line for line in lines if line[:1] in (["accelerate"], ["torchrun"])]


@pytest.mark.parametrize("line", _documented(), ids=lambda line: " ".join(line[:4]))
def test_the_documented_commands_can_be_read(
    line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.run import parse_args

    monkeypatch.chdir(REPOSITORY)
    program, *rest = (word for word in line if word != "…")
    if program == "accelerate":
        launch = launch_command_parser().parse_args(rest[1:])
        launch, *_ = _validate_launch_command(launch)
        assert launch.num_processes == 2
    else:
        launch = parse_args(rest)
    assert (launch.module, launch.training_script) == (True, "finetune")
    given = list(launch.training_script_args)
    options = main_parser().parse_args([*given, *([] if "--data_path" in given else _DATA)])
    assert options.command == "train"


def test_transformers_fills_deepspeeds_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed itself is not installed: only its presence is not asked for."""
    from accelerate.utils.deepspeed import HfDeepSpeedConfig
    from transformers import TrainingArguments
    from transformers.integrations import deepspeed

    monkeypatch.setattr(deepspeed, "dep_version_check", lambda _: None)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    # transformers leaves the class of accelerate out where there is no DeepSpeed
    kind = type("Config", (deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig), {})
    config: Any = kind(str(_LAUNCH / "zero3.json"))
    config.trainer_config_process(arguments)
    assert config.is_zero3()
    assert config.config["train_micro_batch_size_per_gpu"] == 2
    assert config.config["gradient_accumulation_steps"] == 4
    assert config.config["gradient_clipping"] == arguments.max_grad_norm
    assert config.mismatches == []


def test_a_sharded_model_has_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.errors import InputError
    from finetune.training.sharding import check_phases

    monkeypatch.delitem(os.environ, "ACCELERATE_USE_FSDP", raising=False)
    check_phases(2)
    monkeypatch.setitem(os.environ, "ACCELERATE_USE_FSDP", "true")
    check_phases(1)
    with pytest.raises(InputError, match=r"one phase only.*ddp.yaml"):
        check_phases(2)
