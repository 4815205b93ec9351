"""The live rates are means over the replies for which each is defined."""

from __future__ import annotations

from bot.identity_rates import IdentityRates
from persona_prompts.identity.measures import measure_dialogue

NAMES = ("Captain Mirela Vex",)


def test_rates_agree_with_an_evaluation_s_definitions() -> None:
    rates = IdentityRates()
    assert set(rates.rates().values()) == {None}
    questions = ["Hi.", "Nice day.", "Who are you?", "And now?"]
    intro = "I'm Captain Mirela Vex, sailor of storms."
    for measures in measure_dialogue(
        questions, [intro, intro, intro, "Gulls cry over the harbour."], names=NAMES, card=""
    ):
        rates.add(measures)
    found = rates.rates()
    assert found["IIR"] == 0.5  # the first reply and the one that was asked for do not count
    assert found["DupTurn"] == 2 / 3
    assert found["Open3"] == 2 / 3
    assert found["FRR"] == 0
    assert "IIR 50.0%" in rates.line()


def test_only_the_newest_replies_count() -> None:
    rates = IdentityRates(newest=1)
    replies = ["I'm Captain Mirela Vex.", "I'm Captain Mirela Vex.", "The gulls cry."]
    for measures in measure_dialogue(["a", "b", "c"], replies, names=NAMES, card=""):
        rates.add(measures)
    assert len(rates) == 1
    assert rates.rates()["IIR"] == 0
