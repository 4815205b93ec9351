"""The stages of a run, in their order, from a copy of the database to a promotion.

Each reads what those before it left, and gives back its result as JSON: under `row` what the run's
row learns by it. Each may be killed at any moment and begun again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config import Config, DatabaseSettings, PathSettings
from db.runs import Run
from db.snapshot import snapshot as copy_database
from finetune.errors import InputError
from finetune.retraining.job import Job, Redo, Skip, standing
from finetune.retraining.means import Lesson
from finetune.retraining.publication import is_whole, publish
from finetune.retraining.workspace import write_durably
from inference.adapters import AdapterError, AdapterInfo, AdapterRegistry
from persona_prompts.identity.measures import words

if TYPE_CHECKING:
    from finetune.dataset import Example
    from finetune.retraining.gate import Verdict

SNAPSHOT_FILE = "troupe.sqlite3"
_PUBLISHED = "published.json"  # version and weights of the challenger, once it is in the registry

Result = dict[str, Any]


def snapshot(job: Job) -> Result:
    """Copy the database, so that the bot may go on writing."""
    _check_no_trial(job)
    began = time.monotonic()
    config = job.config
    target = job.workspace.staging("snapshot") / SNAPSHOT_FILE
    asyncio.run(
        copy_database(
            config.database_file,
            target,
            busy_timeout_seconds=config.database.busy_timeout_seconds,
        )
    )
    return {"bytes": target.stat().st_size, "seconds": time.monotonic() - began}


def _check_no_trial(job: Job) -> None:
    """Raise `Skip` while an earlier challenger is tried, which a new one would push out."""
    canary = job.registry.canary(job.run.adapter)
    if canary is not None and not job.run.settings["force"]:
        raise Skip(
            f"{job.run.adapter}@{canary.version} is still on trial; --force trains nevertheless."
        )


def prepare(job: Job) -> Result:
    """Make a training set of what was said, if enough of it is new."""
    from finetune.preparing.channels import origin, read_log, reading
    from finetune.preparing.pipeline import prepare as make
    from finetune.preparing.pseudonyms import Pseudonyms, pseudonym_key
    from finetune.retraining.news import newest_at, news, replays
    from finetune.training_set import write_training_set

    config, settings = job.config, job.run.settings
    if not (job.workspace.place("snapshot") / SNAPSHOT_FILE).is_file():
        raise Redo("snapshot", "the copy of the database is gone")
    replay = replays(config.retrain)
    pseudonyms = Pseudonyms(pseudonym_key(config.paths.data))  # of the bot's folder, not the copy's
    copied = _of_snapshot(config, job.workspace.place("snapshot"))
    try:
        log = read_log(copied)
        latest = newest_at(log.dialogues)
        new = news(log.dialogues, settings["trained_until"], latest)
        least = config.retrain.min_new_replies
        if new < least and not settings["force"]:
            raise Skip(
                f"Only {new} replies are new since the last training, and {least} are needed"
                " (retrain.min_new_replies); --force trains nevertheless."
            )
        if settings["learn_since"] is not None:
            log = read_log(copied, since=settings["learn_since"])
    except InputError as error:  # nobody agreed, nothing was said
        raise Skip(str(error)) from None
    tokens = job.means.tokens(config, config.finetune)
    try:
        made = make(
            log.dialogues,
            config.prepare,
            tokens,
            pseudonyms=pseudonyms,
            replay=replay,
            journal=reading(log),
            origin=origin("database", log.keys, refused=len(log.refused)),
            seed=job.seed,
        )
    except InputError as error:
        raise Skip(str(error)) from None
    write_training_set(made, job.workspace.staging("prepare") / job.run.key)
    return {
        "new_replies": new,
        "examples": len(made.train),
        "validation": len(made.validation),
        "row": {
            "data_hash": made.report["data_hash"],
            "settings": {
                "newest_at": latest,
                "new_replies": new,
                "examples": len(made.train),
                "usual_length": _usual_length(made.train),
            },
        },
    }


def _usual_length(examples: Iterable[Example]) -> float | None:
    """Words of a reply that is learnt from, on average, as the measures count them."""
    lengths = [
        len(words(turn.message.content)) for one in examples for turn in one.turns if turn.taught
    ]
    return sum(lengths) / len(lengths) if lengths else None


def _of_snapshot(config: Config, folder: Path) -> Config:
    """`config` with the copied database in the place of the bot's."""
    paths = PathSettings(data=folder, personas=config.paths.personas)
    patience = config.database.busy_timeout_seconds
    database = DatabaseSettings(file=SNAPSHOT_FILE, busy_timeout_seconds=patience)
    return config.model_copy(update={"paths": paths, "database": database})


def train(job: Job) -> Result:
    """Train the challenger and publish it, without promoting it."""
    from finetune.retraining.lessons import clear_damage, finished

    config = job.config
    staging = job.workspace.staging("train", fresh=False)
    folder = staging / "adapter"
    if (info := _published(job, staging)) is not None:
        return _trained(folder, info)
    for said in clear_damage(folder):
        job.remark(said)
    if not finished(folder):
        champion = job.run.champion
        from_champion = config.retrain.start_from == "champion" and champion != "base"
        lesson = Lesson(
            training_set=job.workspace.place("prepare") / job.run.key,
            folder=folder,
            name=job.run.adapter,
            note=note_of(job.run.key),
            seed=job.seed,
            start_from=champion if from_champion else None,
        )
        with job.means.share(config, job.say):
            job.means.train(config, config.finetune, lesson)
    info = publish(job.registry, folder, job.run.adapter, note_of(job.run.key))
    write_durably(staging / _PUBLISHED, json.dumps([info.version, info.card.weights_hash]))
    return _trained(folder, info)


def _published(job: Job, staging: Path) -> AdapterInfo | None:
    """What this stage published before it was killed; None: nothing, or not whole any more."""
    try:
        version, weights = json.loads((staging / _PUBLISHED).read_text(encoding="utf-8"))
        info = job.registry.resolve_version(job.run.adapter, int(version))
    except (OSError, ValueError, TypeError, AdapterError):
        return None
    return info if is_whole(info.folder, str(weights)) else None


def _trained(folder: Path, info: AdapterInfo) -> Result:
    shutil.rmtree(folder, ignore_errors=True)  # published, it is elsewhere
    return {
        "label": info.label,
        "weights_hash": info.card.weights_hash,
        "figures": info.card.figures,
        "row": {"challenger": info.label},
    }


def note_of(key: str) -> str:
    """By which a challenger's version is known as this run's."""
    return f"retraining {key}"


def evaluate(job: Job) -> Result:
    """Play the probe suite with both, the same seeds, and measure both."""
    from finetune.retraining.probing import probe

    _check_challenger(job)
    return probe(job)


def gate(job: Job) -> Result:
    """Judge."""
    verdict = _verdict(job)
    return {"row": {"verdict": verdict.as_json(), "reason": verdict.reason}}


def _verdict(job: Job) -> Verdict:
    """The gate's word, which is the same whenever it is asked of the same figures."""
    from finetune.retraining.contenders import contender, differences
    from finetune.retraining.gate import judge
    from finetune.retraining.probing import evaluations

    champion, challenger = evaluations(job)
    return judge(
        contender(champion),
        contender(challenger),
        job.config.gate,
        differences(champion, challenger, seed=job.seed),
        job.run.settings.get("usual_length"),
    )


def promote(job: Job) -> Result:
    """Let the name stand for the challenger, or begin its trial, if the gate says so."""
    verdict = job.run.verdict
    if not verdict["promote"]:
        return {"outcome": "rejected"}
    done = committed(job.registry, job.run)
    if done is not None:
        return {"outcome": done}
    _check_challenger(job)
    name, version = job.challenger
    registry, key = job.registry, job.run.key
    stood_for = registry.promoted(name)  # read first: a change from here on is noticed
    present = standing(registry, name, job.run.settings["base_fingerprint"])
    if present != job.run.champion:
        reason = (
            f"{name} stands for {present} by now, and {job.run.challenger} was compared with"
            f" {job.run.champion}; it is not promoted."
        )
        return {"outcome": "rejected", "row": {"reason": reason}}
    canary = job.config.canary
    if canary.share:
        until = time.time() + canary.days * 86_400.0
        registry.begin_canary(name, version, share=canary.share, until=until, run=key)
        return {"outcome": "canary"}
    registry.promote(
        name, version, by="retraining", reason=job.run.reason, run=key, expected=stood_for
    )
    return {"outcome": "promoted"}


def committed(registry: AdapterRegistry, run: Run) -> Literal["promoted", "canary"] | None:
    """What `run` made of its challenger in the registry: `promoted`, `canary` or nothing."""
    if any(promotion.run == run.key for promotion in registry.history(run.adapter)):
        return "promoted"
    canary = registry.canary(run.adapter)
    return "canary" if canary is not None and canary.run == run.key else None


def report(job: Job) -> Result:
    """Write what the operators are shown."""
    from finetune.retraining.probing import evaluations
    from finetune.retraining.reporting import write

    run = replace(job.run, state=job.results["promote"]["outcome"])
    write(job.workspace.staging("report"), run, _verdict(job), *evaluations(job))
    return {"row": {"report": str(job.workspace.place("report").resolve())}}


def _check_challenger(job: Job) -> None:
    """Raise `Redo` unless the published challenger is on the disk as it was trained."""
    name, version = job.challenger
    folder = job.registry.folder_of(name, version)
    if not is_whole(folder, job.results["train"]["weights_hash"]):
        shutil.rmtree(folder, ignore_errors=True)
        raise Redo("train", f"the files of {job.results['train']['label']} are gone or damaged")


STAGES: dict[str, Callable[[Job], Result]] = {
    "snapshot": snapshot,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "gate": gate,
    "promote": promote,
    "report": report,
}
# What may be missing from a finished stage: the copy is opened, which changes it, and then deleted.
LOOSE = {"snapshot": (SNAPSHOT_FILE, f"{SNAPSHOT_FILE}-wal", f"{SNAPSHOT_FILE}-shm")}
KEPT = ("evaluate", "gate", "promote", "report")  # of a run that is over

__all__ = ["KEPT", "LOOSE", "STAGES", "committed", "note_of"]
