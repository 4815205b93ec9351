"""A place to retrain in, and reports that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Config
from tests.finetune.retraining.light import (
    publish_champion,
    retraining_config,
    write_shortly,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = retraining_config(tmp_path)
    publish_champion(made)
    return made


@pytest.fixture
def whole_report() -> None:
    """The report as it is."""


@pytest.fixture
def quick_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are drawn in one test only; that takes longer than all else."""
    if "whole_report" not in request.fixturenames:
        monkeypatch.setattr("finetune.retraining.reporting.write", write_shortly)
