"""Three nights of retraining, each on the log that the bot of the night before made.

    python -m benchmarks.three_nights [--experiment DIR] [--work DIR] [--nights N] …

The first night's champion is the seed's bot of `benchmarks.identity_repetition`, whose work folder
must be there, and the log is the one that it left there. Every night runs
`python -m finetune retrain` with the defaults, or with public dialogue mixed in (`--dialogues`);
then scripted users talk with what the adapter's name stands for by now, and that log is added for
the next night. Every stage is kept; to begin anew, remove the work folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.identity import conditions, data
from benchmarks.identity.conditions import Condition
from benchmarks.identity.logs import write_logs
from benchmarks.identity.persona_chat import ATTRIBUTION, LICENCE
from benchmarks.identity.stages import Stages
from benchmarks.identity.table import number, table_row, with_interval
from benchmarks.identity.tools import finetune
from config import Config, PromptFormatName, load
from finetune.evaluation.suite import read_suite
from finetune.evaluation.transcripts import read_transcripts
from inference.adapters import AdapterRegistry
from inference.types import InferenceError

DATA, PERSONAS = "troupe", "personas"  # folders of the bot in the work folder
_NAME = "company"
_REPLAY = "replay.jsonl"
_PATIENT, _PATIENTS_LOG = "seed-bot", "logs"
_USERS = 36  # a night, ten turns each, as in the log of the seed's bot
_FORMAT: PromptFormatName = (
    "alpaca"  # which the seed's bot learnt; its successors keep it, so that all are alike
)
_SHOWN = ("IIR", "XTR4", "DupTurn", "Open3", "Recall", "perplexity")
_GUARDS = ("distinct-2", "mean_length", "ends_by_itself")


def settings(bot_data: Path, personas: Path, replay: Path | None = None) -> str:
    """The text of the config.toml of a bot that retrains `company`, with `replay` mixed in."""
    lines = [
        f"[paths]\ndata = '{bot_data.resolve()}'\npersonas = '{personas.resolve()}'",
        f"[model]\nprompt_format = '{_FORMAT}'\n[retrain]\nadapter = '{_NAME}'",
    ]
    if replay is not None:
        lines += [f"replay = '{replay.resolve()}'", f"replay_licence = '{LICENCE}'"]
        lines += [f"replay_attribution = '{ATTRIBUTION}'"]
    return "\n".join([*lines, ""])


class Nights:
    """One work folder with a bot's data in it, and a stage for everything that takes time."""

    def __init__(
        self,
        work: Path,
        experiment: Path,
        *,
        seed: int,
        threads: int,
        dialogues: Path | None = None,
    ) -> None:
        """`dialogues` are public ones that every training mixes in; see `data.persona_chats`."""
        self._experiment = experiment.resolve()
        self._stages = Stages(work.resolve())
        self._seed, self._threads = seed, threads
        self._settings_file = work.resolve() / "config.toml"
        replay = self._replay(dialogues) if dialogues else None
        self._settings_file.write_text(settings(work / DATA, work / PERSONAS, replay))
        self._config: Config = load(self._settings_file)
        self._users = read_suite(data.SIMULATED)

    def run(self, nights: int) -> list[dict[str, Any]]:
        """The row of each night's run. Raises `InferenceError`."""
        self._stages.run("patient", self._patient)
        log = self._experiment / _PATIENTS_LOG / conditions.TRANSCRIPTS
        for night in range(1, nights + 1):
            self._tell(night, log)
            self._retrain(night)
            if night < nights:
                log = self._talk(night)
        return [self._stages.result(f"night-{night}")["figures"] for night in range(1, nights + 1)]

    def _replay(self, dialogues: Path) -> Path:
        def make(folder: Path) -> dict[str, Any]:
            _, learnt = data.persona_chats(dialogues, data.MEASURED, seed=data.SEED)
            data.write_rows(folder / _REPLAY, data.replay_rows(learnt))
            return {"dialogues": len(learnt)}

        return self._stages.run("replay", make) / _REPLAY

    def _patient(self, folder: Path) -> dict[str, Any]:
        """The seed's bot as the first version of the adapter."""
        found = AdapterRegistry(self._experiment / "troupe" / "adapters").resolve(_PATIENT)
        if found is None:
            raise InferenceError(
                f"There is no seed's bot in {self._experiment}; run"
                " python -m benchmarks.identity_repetition first."
            )
        registry = AdapterRegistry(self._config.adapters_dir)
        if not registry.versions(_NAME):
            staging = registry.staging_folder(_NAME)
            shutil.copytree(found.folder, staging, dirs_exist_ok=True)
            registry.publish(staging, _NAME)
        return {"from": found.label}

    def _tell(self, night: int, log: Path) -> None:
        """Add a log to the database, a day after the one before."""

        def make(folder: Path) -> dict[str, Any]:
            said = [
                # Everybody's scene of this night is a channel of its own.
                replace(one, user=one.user.model_copy(update={"id": f"{one.user.id}-{night}"}))
                for one in read_transcripts(log)
            ]
            file, draft = self._config.database_file, folder / "troupe.sqlite3"
            if file.exists():
                shutil.copy2(file, draft)
            file.parent.mkdir(parents=True, exist_ok=True)
            writing = write_logs(
                draft, self._config.paths.personas, said, self._served(), day=night
            )
            stored = asyncio.run(writing)
            draft.replace(file)
            return {"replies": stored}

        self._stages.run(f"log-{night}", make)

    def _retrain(self, night: int) -> None:
        def make(folder: Path) -> dict[str, Any]:
            return finetune("retrain", "--seed", self._seed + night, config=self._settings_file,
                            threads=self._threads)  # fmt: skip

        self._stages.run(f"night-{night}", make, seed=self._seed)

    def _talk(self, night: int) -> Path:
        """What scripted users and the adapter in use say to one another after `night`."""
        first = night * _USERS // 2
        users = [self._users[(first + at) % len(self._users)] for at in range(_USERS)]
        served = self._served()

        def make(folder: Path) -> dict[str, Any]:
            condition = Condition("", served, prompt_format=_FORMAT)
            said = conditions.played(self._config, condition, users, seed=self._seed + night)
            conditions.save(folder, said)
            return {"replies": sum(len(transcript.replies) for transcript in said)}

        folder = self._stages.run(f"talk-{night}", make, served=served, seed=self._seed)
        return folder / conditions.TRANSCRIPTS

    def _served(self) -> str:
        """The label of the version that the name stands for."""
        return f"{_NAME}@{AdapterRegistry(self._config.adapters_dir).promoted(_NAME)}"


def markdown(nights: list[dict[str, Any]]) -> str:
    """A row for the first champion and one for the challenger of every night."""
    heads = ["", *_SHOWN, *_GUARDS, "verdict"]
    lines = [table_row(heads), table_row(["---"] * len(heads))]
    first = nights[0]
    if "champion" in first["figures"]:
        lines.append(_figures(f"before: {first['champion']}", first["figures"]["champion"], ""))
    for number_, night in enumerate(nights, start=1):
        if "challenger" not in night["figures"]:
            lines.append(table_row([f"night {number_}", *[""] * (len(heads) - 2), night["reason"]]))
            continue
        label = f"night {number_}: {night['challenger']}"
        verdict = f"{night['state']}: {night['reason']}"
        lines.append(_figures(label, night["figures"]["challenger"], verdict))
    lines += ["", "Minutes: " + "; ".join(_minutes(night) for night in nights)]
    return "\n".join(lines)


def _figures(label: str, figures: dict[str, Any], verdict: str) -> str:
    cells = [with_interval(figures[name]) for name in _SHOWN]
    cells += [number(figures[name]["value"]) for name in _GUARDS]
    return table_row([label, *cells, verdict])


def _minutes(night: dict[str, Any]) -> str:
    return ", ".join(
        f"{stage} {seconds / 60:.1f}"
        for stage, seconds in night["stage_times"].items()
        if seconds >= 3
    )


def plot(nights: list[dict[str, Any]], file: Path) -> None:
    """What served after each night, by measure, with intervals; challengers turned down as ×."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    grid = figure.subplots(2, 3)
    for axes, name in zip(grid.flat, _SHOWN, strict=True):
        served = [nights[0]["figures"].get("champion", {}).get(name)]
        for at, night in enumerate(nights, start=1):
            challenger = night["figures"].get("challenger", {}).get(name)
            won = night["state"] == "promoted"
            if challenger and not won and challenger["value"] is not None:
                axes.plot([at], [challenger["value"]], "x", color="tab:red")
            served.append(challenger if won else served[-1])
        known = [(at, one) for at, one in enumerate(served) if one and one["value"] is not None]
        values = [one["value"] for _, one in known]
        low = [one["value"] - one["low"] for _, one in known]
        high = [one["high"] - one["value"] for _, one in known]
        axes.errorbar([at for at, _ in known], values, yerr=[low, high], marker="o", capsize=3)
        axes.set_title(name, loc="left")
        axes.set_ylim(bottom=0)
        axes.set_xticks(range(len(nights) + 1), ["before", *map(str, range(1, len(nights) + 1))])
    figure.supxlabel("night")
    figure.savefig(file, dpi=120)


def main() -> int:
    """Do what is left of the nights and print their table."""
    options = _parser().parse_args()
    try:
        nights = Nights(
            options.work,
            options.experiment,
            seed=options.seed,
            threads=options.threads,
            dialogues=options.dialogues,
        ).run(options.nights)
    except InferenceError as error:
        print(error, file=sys.stderr)
        return 2
    (options.work / "results.json").write_text(json.dumps(nights, indent=1, ensure_ascii=False))
    plot(nights, options.work / "three_nights.png")
    print(json.dumps(nights) if options.json else markdown(nights))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Three nights of retraining on what the bot said the day before.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--experiment", type=Path, default=Path("data/identity_repetition"),
        help="the work folder of benchmarks.identity_repetition")  # fmt: skip
    add("--dialogues", type=Path,
        help="Synthetic-Persona-Chat's CSV: every training mixes in 250 of it")  # fmt: skip
    add("--work", type=Path, default=Path("data/three_nights"), help="where stages are kept")
    add("--nights", type=int, default=3)
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=2, help="of the training")
    add("--json", action="store_true", help="one JSON list instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
