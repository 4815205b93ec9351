"""One run at work: what its stages read and hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from config import Config
from db.runs import Run
from finetune.retraining.means import Means, Say
from finetune.retraining.workspace import Workspace
from inference.adapters import BASE, AdapterError, AdapterRegistry

if TYPE_CHECKING:
    from finetune.evaluation.figures import Evaluation


class Skip(Exception):
    """There is nothing to be done; the message says why, in one sentence."""


class Redo(Exception):
    """What the stage `stage` left is gone or damaged, and is needed."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


@dataclass(slots=True)
class Job:
    """`config` has the settings that the run began with; `results` are those of finished stages."""

    config: Config
    run: Run
    workspace: Workspace
    means: Means
    say: Say
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluations: tuple[Evaluation, Evaluation] | None = None  # once they are known

    @property
    def registry(self) -> AdapterRegistry:
        return AdapterRegistry(self.config.adapters_dir)

    @property
    def seed(self) -> int:
        return int(self.run.settings["seed"])

    @property
    def challenger(self) -> tuple[str, int]:
        """Name and version of what was trained."""
        name, _, version = str(self.results["train"]["label"]).partition("@")
        return name, int(version)

    def note(self, row: Mapping[str, Any]) -> None:
        """Put what became known into the run; settings are added to those it has."""
        settings = {**self.run.settings, **row.get("settings", {})}
        self.run = replace(self.run, **{**row, "settings": settings})

    def remark(self, said: str) -> None:
        """A sentence that stays with the run."""
        said = f"{said[0].upper()}{said[1:]}"
        self.say(said)
        self.note({"settings": {"notes": [*self.run.settings["notes"], said]}})


def standing(registry: AdapterRegistry, name: str, fingerprint: str) -> str:
    """The label of what answers for `name` on the model of `fingerprint`; `base`: no adapter.

    An adapter that cannot be used (made for another model, damaged) answers for nothing.
    """
    try:
        info = registry.resolve(name, fingerprint)
    except AdapterError:
        return BASE
    return BASE if info is None else info.label
