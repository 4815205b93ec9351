"""`python -m finetune retrain`, all but the run itself."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from db.runs import Run
from finetune.__main__ import main
from finetune.errors import InputError
from finetune.retraining.run import Order

DONE = Run(
    key="2026-11-21T03-00-00Z",
    adapter="default",
    state="promoted",
    champion="default@1",
    challenger="default@2",
    reason="It is better.",
    report="/data/retraining/2026-11-21T03-00-00Z/report",
)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text("")
    return file


@pytest.fixture(autouse=True)
def keep_signals() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ending(monkeypatch: pytest.MonkeyPatch, run: Run | BaseException) -> list[Order]:
    """Let every run end so; returns what is asked for."""
    orders: list[Order] = []

    def retrain(config: Any, order: Order) -> Run:
        orders.append(order)
        if isinstance(run, BaseException):
            raise run
        return run

    monkeypatch.setattr("finetune.retraining.run.retrain", retrain)
    return orders


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({}, 0, "default@2 is promoted, after default@1: It is better. The report is /data/"),
        ({"state": "canary"}, 0, "default@2 is on trial beside default@1: It is better."),
        ({"state": "rejected", "reason": "Worse."}, 0, "default@2 is rejected, default@1 stays: W"),
        ({"state": "skipped", "reason": "Too little.", "report": None}, 0, "Nothing was trained: "),
        ({"state": "cancelled", "reason": "It was cancelled.", "report": None}, 0, "It was cance"),
        ({"state": "failed", "reason": "The disk is full.", "report": None}, 1, "The disk is full"),
    ],
)
def test_the_end_is_a_sentence_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config_file: Path,
    changes: dict[str, Any],
    code: int,
    said: str,
) -> None:
    ending(monkeypatch, dataclasses.replace(DONE, **changes))
    assert main(["retrain", "--config", str(config_file)]) == code
    printed = capsys.readouterr()
    assert (printed.err if code else printed.out).startswith(said)


def test_json_is_the_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    ending(monkeypatch, DONE)
    assert main(["retrain", "--config", str(config_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dataclasses.asdict(DONE)


def test_what_is_asked_for_arrives(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> None:
    orders = ending(monkeypatch, DONE)
    main(["retrain", "--config", str(config_file)])
    options = ("--adapter", "cast", "--force", "--fresh", "--seed", "3", "--trigger", "schedule")
    main(["retrain", "--config", str(config_file), *options])
    assert orders == [
        Order(),
        Order(adapter="cast", force=True, seed=3, resume=False, trigger="schedule"),
    ]


def test_ctrl_c_and_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config_file: Path
) -> None:
    ending(monkeypatch, KeyboardInterrupt())
    assert main(["retrain", "--config", str(config_file)]) == 130
    assert "goes on from there" in capsys.readouterr().err
    ending(monkeypatch, InputError("There is no database yet."))
    assert main(["retrain", "--config", str(config_file)]) == 2
    ending(monkeypatch, SystemExit(143))
    with pytest.raises(SystemExit) as stopped:
        main(["retrain", "--config", str(config_file)])
    assert stopped.value.code == 143
