"""Fixtures shared by all rooms: where the embedded model lies, and configurations for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config import Config, PathSettings

REPOSITORY = Path(__file__).parent.parent
MODELS = REPOSITORY / "data" / "models"  # unpacked once, by `make run` or by the first test run

MakeConfig = Callable[..., Config]


def config_in(data: Path, **sections: object) -> Config:
    """A configuration whose data lie in `data`, with the unpacked models of this checkout."""
    data.mkdir(parents=True, exist_ok=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    if not (data / "models").exists():
        (data / "models").symlink_to(MODELS)
    values = {"paths": PathSettings(data=data, personas=data / "personas"), **sections}
    return Config.model_validate(values)


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """`make_config(model=ModelSettings(...), ...)`: a configuration with its own data folder."""
    return lambda **sections: config_in(tmp_path / "data", **sections)
