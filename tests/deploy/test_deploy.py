"""The shipped units and compose files say what the programs understand."""

from __future__ import annotations

import argparse
import configparser
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import bot.__main__
import finetune.__main__
from tests.conftest import REPOSITORY

_DEPLOY = REPOSITORY / "deploy"
_UNITS = sorted((_DEPLOY / "systemd").glob("*.service"))
_PARSERS: dict[str, Any] = {"bot": bot.__main__._parser, "finetune": finetune.__main__._parser}
_INSTALLED = "/opt/troupe"


def _understood(command: list[str]) -> argparse.Namespace:
    """What the program makes of `python -m PROGRAM …`; it would exit otherwise."""
    python, module, program, *arguments = command
    assert (Path(python).name, module) == ("python", "-m")
    options: argparse.Namespace = _PARSERS[program]().parse_args(arguments)
    return options


def _unit(file: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(file.read_text(encoding="utf-8"))
    return unit


def _compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((_DEPLOY / name).read_text(encoding="utf-8"))
    return loaded


def test_both_services_have_a_unit() -> None:
    commands = [_understood(shlex.split(_unit(file)["Service"]["ExecStart"])) for file in _UNITS]
    assert [options.command for options in commands] == ["discord", "schedule"]


@pytest.mark.parametrize("file", _UNITS, ids=lambda file: file.stem)
def test_a_unit_starts_again_after_failures_but_not_with_wrong_settings(file: Path) -> None:
    service = _unit(file)["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(bot.__main__.WRONG_INPUT) == "2"
    assert service["ReadWritePaths"].split()[0] == service["WorkingDirectory"] == _INSTALLED
    # Only the service itself is told to stop: what it started is its own business.
    assert service["KillMode"] in ("mixed", "process")
    # Where the training runs out of memory, what was not taken goes on.
    assert service["OOMPolicy"] == "continue"


def test_a_training_that_the_bot_began_outlives_its_unit() -> None:
    """`/retrain run` starts it in the bot's control group."""
    bots, schedules = (_unit(file)["Service"] for file in _UNITS)
    assert bots["KillMode"] == "process"
    # A private /tmp is deleted when the unit stops, under the hands of whoever is left.
    assert "PrivateTmp" not in bots
    assert "/tmp" in bots["ReadWritePaths"].split()
    assert schedules["KillMode"] == "mixed"  # that service waits for its training


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("file", _UNITS, ids=lambda file: file.stem)
def test_systemd_understands_the_units(file: Path, tmp_path: Path) -> None:
    here = tmp_path / file.name
    text = file.read_text(encoding="utf-8").replace("/opt/troupe/.venv/bin/python", "/bin/true")
    here.write_text(text.replace(_INSTALLED, str(REPOSITORY)), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    about = [line for line in done.stderr.splitlines() if file.name in line]
    assert not about


def test_compose_starts_what_the_units_start_on_the_same_data() -> None:
    services = _compose("compose.yaml")["services"]
    assert [_understood(service["command"]).command for service in services.values()] == [
        "discord",
        "schedule",
    ]
    [volumes] = {tuple(service["volumes"]) for service in services.values()}
    for volume in volumes:
        here, there, *_ = volume.split(":")
        assert (_DEPLOY / here).resolve().parent == REPOSITORY
        assert there == f"/troupe/{Path(here).name}"
    assert services["bot"]["env_file"] == "../.env"
    assert "env_file" not in services["schedule"]  # it needs no token


def test_the_image_is_made_from_the_locks_and_holds_no_secrets() -> None:
    build = _compose("compose.yaml")["services"]["bot"]["build"]
    context = (_DEPLOY / build["context"]).resolve()
    assert context == REPOSITORY
    dockerfile = context / build["dockerfile"]
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    for name in copied[0]:
        assert (REPOSITORY / name).is_file()
    ignored = Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8").splitlines()
    for private in (".env", "data", ".venv", ".git", "personas"):
        assert any(fnmatch(private, pattern) for pattern in ignored), private


def test_both_services_get_the_gpu() -> None:
    services = _compose("compose.gpu.yaml")["services"]
    assert services.keys() == _compose("compose.yaml")["services"].keys()
    for service in services.values():
        [device] = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
