"""Two evaluations of the same probe run, as the gate takes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from finetune.evaluation.figures import (
    Evaluation,
    Figure,
    Measured,
    Terms,
    paired_difference,
    terms_of,
)
from finetune.retraining.gate import COMPARED, Contender
from finetune.retraining.refusals import refuses


def contender(evaluation: Evaluation) -> Contender:
    """What the gate must know of one adapter; `perplexity` must stand among its figures."""
    return Contender(
        label=evaluation.adapter,
        figures=evaluation.figures,
        turns=evaluation.figures["IIR"].n,
        failed=evaluation.failed,
        refusals=sum(
            refuses(reply, each.transcript.user.card)
            for each in evaluation.measured
            for reply in each.replies
        ),
    )


def differences(
    champion: Evaluation, challenger: Evaluation, *, seed: int = 0
) -> dict[str, Figure]:
    """Challenger less champion of each measure that replies have, over scripts that both played.

    A script that was played several times counts once, with all its replies: its plays resemble
    one another. Perplexity is no measure of replies; its own interval and the gate's ratio judge.
    """
    old, new = _by_script(champion), _by_script(challenger)
    shared = [script for script in old if script in new]
    return {
        name: paired_difference(
            [_added(old[script], name) for script in shared],
            [_added(new[script], name) for script in shared],
            seed,
        )
        for name in COMPARED
        if name != "perplexity"
    }


def _by_script(evaluation: Evaluation) -> dict[str, list[Measured]]:
    found: defaultdict[str, list[Measured]] = defaultdict(list)
    for measured in evaluation.measured:
        found[measured.transcript.user.id].append(measured)
    return dict(found)


def _added(plays: Sequence[Measured], name: str) -> Terms:
    """What all plays of one script add to the measure `name`."""
    terms = terms_of(plays, name)
    return Terms(
        sum(term.numerator for term in terms),
        sum(term.denominator for term in terms),
        sum(term.n for term in terms),
    )
