"""Champion and challenger on the frozen suite, on held-out dialogues, and on the newest ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.dataset import Example
from finetune.errors import InputError, TrainingError
from finetune.evaluation.figures import Evaluation, Figure, evaluate
from finetune.evaluation.relevance import similarity
from finetune.evaluation.transcripts import Transcript, read_transcripts
from finetune.retraining.job import Job
from finetune.retraining.rounds import Round, plays_needed, probe_suite

STAGE = "evaluate"
# Of the log's own dialogues. They hold what the champion itself once said, which it finds likely:
# shown, but no ground to reject a challenger that talks otherwise. The gate has the frozen ones.
RECENT = "recent_perplexity"
_MOST_RECENT = 200  # dialogues


def probe(job: Job) -> dict[str, Any]:
    """Play what is not played yet, and measure. Replies have the same seeds for both."""
    config, labels = job.config, _labels(job)
    suite = probe_suite(config)
    plays = plays_needed(suite, config.gate.min_turns)
    folder = job.workspace.staging(STAGE, fresh=False)
    rounds = [
        Round(label, job.seed + number, folder / f"{role}-{number}.jsonl")
        for number in range(plays)
        for role, label in labels.items()
    ]
    recent = _recent(job)
    with job.means.share(config, job.say):
        missing = [one for one in rounds if not _is_played(one.file)]
        if missing:
            job.means.play(config, suite, missing)
        _check_champion(job, folder, plays)
        perplexity = job.means.perplexities(config, tuple(labels.values()), None, job.seed)
        newest: dict[str, Figure] = {}
        if recent:
            newest = job.means.perplexities(config, tuple(labels.values()), recent, job.seed)
    measured = {
        role: {
            "perplexity": perplexity[label].as_json(),
            **({RECENT: newest[label].as_json()} if newest else {}),
        }
        for role, label in labels.items()
    }
    job.evaluations = _evaluate(job, folder, plays, measured)
    figures = {
        role: {name: figure.as_json() for name, figure in evaluation.figures.items()}
        for role, evaluation in zip(labels, job.evaluations, strict=True)
    }
    return {"plays": plays, "measured": measured, "row": {"figures": figures}}


def evaluations(job: Job) -> tuple[Evaluation, Evaluation]:
    """Champion and challenger, from what the stage left on the disk."""
    if job.evaluations is None:
        found = job.results[STAGE]
        job.evaluations = _evaluate(
            job, job.workspace.place(STAGE), found["plays"], found["measured"]
        )
    return job.evaluations


def _labels(job: Job) -> dict[str, str]:
    assert job.run.champion is not None
    return {"champion": job.run.champion, "challenger": job.results["train"]["label"]}


def _evaluate(
    job: Job, folder: Path, plays: int, measured: dict[str, dict[str, Any]]
) -> tuple[Evaluation, Evaluation]:
    relevance = similarity()
    found = []
    for role, label in _labels(job).items():
        evaluation = evaluate(
            label, _played(folder, role, label, plays), seed=job.seed, relevance=relevance
        )
        for name, figure in measured[role].items():
            evaluation.figures[name] = Figure(**figure)
        found.append(evaluation)
    champion, challenger = found
    return champion, challenger


def _played(folder: Path, role: str, label: str, plays: int) -> list[Transcript]:
    files = (folder / f"{role}-{number}.jsonl" for number in range(plays))
    return [transcript for file in files for transcript in read_transcripts(file, label)]


def _is_played(file: Path) -> bool:
    try:
        return bool(read_transcripts(file))
    except InputError:  # not there, or torn
        return False


def _check_champion(job: Job, folder: Path, plays: int) -> None:
    """If nothing answers that answers every day, it is the machine, not the challenger."""
    replies = [
        reply
        for transcript in _played(folder, "champion", "", plays)
        for reply in transcript.replies
    ]
    errors = [reply.error for reply in replies if reply.failed]
    if len(errors) == len(replies):
        for file in folder.glob("*.jsonl"):
            file.unlink()
        raise TrainingError(f"Not one reply of {job.run.champion} came: {errors[0]}")


def _recent(job: Job) -> list[Example]:
    """Dialogues of channels that the challenger was not taught, spread over all of them."""
    from finetune.training_set import read_training_set

    held = read_training_set(job.workspace.place("prepare") / job.run.key).validation
    step = -(-len(held) // _MOST_RECENT) or 1
    return list(held[::step])
