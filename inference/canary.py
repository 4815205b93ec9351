"""A version on trial: for some days, a share of the channels answers through it.

The file `canary` beside an adapter's versions says which. It counts only while the name still
stands for the version that it is compared with, so a promotion ends every trial in the same step.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.promotions import replace_file

log = logging.getLogger(__name__)

CANARY_FILE = "canary"
_DAY = 86_400.0


class Canary(BaseModel):
    """A trial of `version` beside `champion`, from `since` to `until` (Unix seconds)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    version: int
    champion: int | None  # what the name stands for meanwhile; None: no adapter
    share: float = Field(gt=0, le=1)
    since: float
    until: float
    run: str = ""

    @property
    def given_up_at(self) -> float:
        """When it ends undecided: after twice its time, a day later at least."""
        return self.until + max(self.until - self.since, _DAY)

    def includes(self, name: str, channel_key: str) -> bool:
        """Whether the channel tries it; every version draws its channels anew."""
        drawn = hashlib.sha256(f"{name}@{self.version}\n{channel_key}".encode()).digest()[:8]
        return int.from_bytes(drawn) / 2**64 < self.share


def read_canary(home: Path) -> Canary | None:
    """The trial that `home` tells of, whether it still counts or not; None: none."""
    try:
        return Canary.model_validate_json((home / CANARY_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        log.warning("%s is damaged, so nothing is tried.", home / CANARY_FILE)
        return None


def write_canary(home: Path, canary: Canary) -> None:
    """Call it inside `promotions.locked`."""
    replace_file(home / CANARY_FILE, canary.model_dump_json() + "\n")


def remove_canary(home: Path) -> None:
    (home / CANARY_FILE).unlink(missing_ok=True)
