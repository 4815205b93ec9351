"""How often a suite is played."""

from __future__ import annotations

import pytest

from config import ModelSettings, RetrainSettings
from finetune.errors import InputError
from finetune.evaluation.suite import ScriptedUser, find_suite, read_suite
from finetune.retraining.rounds import plays_needed, probe_suite
from tests.conftest import MakeConfig

USER = ScriptedUser(
    id="one",
    name="Hesper Quill",
    persona="{{char}} lights lamps.",
    user_turns=["Good evening.", "What is your name?", "And the weather?", "And the soup?"],
)


@pytest.mark.parametrize(("turns", "plays"), [(1, 1), (2, 1), (4, 2), (20, 11), (10**6, 64)])
def test_until_there_are_turns_enough_and_some_to_spare(turns: int, plays: int) -> None:
    assert plays_needed([USER], turns) == plays


def test_a_suite_that_only_asks_for_names_is_played_once() -> None:
    asking = USER.model_copy(update={"user_turns": ["Good evening.", "What is your name?"]})
    assert plays_needed([asking], 200) == 1


def test_the_shipped_suite_gives_what_the_gate_needs() -> None:
    assert 2 <= plays_needed(read_suite(find_suite("development")), 200) <= 4


def test_the_embedded_model_is_asked_in_english_only(make_config: MakeConfig) -> None:
    assert {user.language for user in probe_suite(make_config())} == {"en"}
    folder = ModelSettings(base="some/model")
    everything = probe_suite(make_config(model=folder))
    assert {user.language for user in everything} > {"en"}
    korean = make_config(model=folder, retrain=RetrainSettings(languages=["ko"]))
    assert {user.language for user in probe_suite(korean)} == {"ko"}


def test_a_language_that_nobody_speaks_is_told(make_config: MakeConfig) -> None:
    config = make_config(retrain=RetrainSettings(languages=["tlh"]))
    with pytest.raises(InputError, match=r"development has no dialogue in tlh; change"):
        probe_suite(config)
