"""Identity repetition, shown and cured on the embedded model.

    python -m benchmarks.identity_repetition [--work DIR] [--persona-chat FILE] …

Two patients: the base as served, and the seed's bot, which this script makes by the seed's recipe
from roleplay that introduces itself. From the seed's bot's simulated logs every method trains an
adapter with the project's own commands; all are measured on the test half of the shipped suite and
on dialogues of Synthetic-Persona-Chat. Every stage is kept in the work folder and not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.identity.data import MEASURED, SEED
from benchmarks.identity.experiment import Experiment, Plan
from benchmarks.identity.table import markdown, plot
from inference.types import InferenceError

_SHARED = Path("../shared/data")


def main() -> int:
    """Run what is left of the experiment and print its table."""
    options = _parser().parse_args()
    shared = options.shared
    plan = Plan(
        persona_chat=shared / "spc_valid.csv",
        roleplay=shared / "gpteacher_roleplay.json",
        identity=shared / "llamafactory_identity.json",
        dialogues=options.dialogues,
        seed=options.seed,
        threads=options.threads,
    )
    try:
        experiment = Experiment(options.work, plan)
        with ThreadPoolExecutor(options.jobs) as pool:
            results = experiment.run(pool)
    except InferenceError as error:
        print(error, file=sys.stderr)
        return 2
    (options.work / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False))
    plot(results, options.work / "iir_by_turn.png")
    print(json.dumps(results) if options.json else markdown(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Identity repetition, shown and cured on the embedded model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--work", type=Path, default=Path("data/identity_repetition"), help="where stages are kept")
    add("--shared", type=Path, default=_SHARED, help="the folder of public sets")
    add("--dialogues", type=int, default=MEASURED, help="of Synthetic-Persona-Chat to measure with")
    add("--seed", type=int, default=SEED)
    add("--jobs", type=int, default=2, help="stages at once")
    add("--threads", type=int, default=1, help="of each stage")
    add("--json", action="store_true", help="one JSON object instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
