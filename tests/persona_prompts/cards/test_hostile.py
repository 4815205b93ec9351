from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.persona_prompts.cards.hostile import HOSTILE

MOST_SECONDS = 1.0  # of the processor: what others do on the machine must not fail a test
MOST_MIB = 200


@pytest.fixture(scope="module")
def refusals() -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.persona_prompts.cards.measure_refusals"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {refusal["name"]: refusal for refusal in found}


def test_there_are_enough() -> None:
    assert len(HOSTILE) >= 30


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_a_sentence_quickly(
    name: str, refusals: dict[str, dict[str, Any]]
) -> None:
    refusal = refusals[name]  # missing: the process died of it
    assert HOSTILE[name][1] in refusal["said"]
    assert refusal["said"].startswith("guest.png")
    assert refusal["said"].endswith(".")
    assert "\n" not in refusal["said"]
    assert len(refusal["said"]) < 400
    assert refusal["seconds"] < MOST_SECONDS
    assert refusal["mib"] < MOST_MIB
    assert refusal["left"] == []
