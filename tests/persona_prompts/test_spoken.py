"""What of a model's text is the character's."""

from __future__ import annotations

from persona_prompts.spoken import spoken


def test_the_label_before_a_reply_is_no_part_of_it() -> None:
    names = ("Captain Mirela Vex", "Mirela")
    assert spoken(" mirela: Rum.\0", names) == "Rum."
    assert spoken("Mirela laughs: rum.", names) == "Mirela laughs: rum."
    assert spoken("Captain Mirela Vex:Rum", names) == "Rum"


def test_the_beginning_of_somebody_elses_line_says_nothing() -> None:
    stops = ("###", "\nRobin:", "\nMirela:")
    assert spoken("Robin: and then I", ["Mirela"], stops=stops) == ""
    assert spoken("mirela: Rum.", ["Mirela"], stops=stops) == "Rum."
    assert spoken("Robin knows.", ["Mirela"], stops=stops) == "Robin knows."


def test_what_may_yet_become_a_label_is_held_back() -> None:
    assert spoken("Mire", ["Mirela"], complete=False) == ""
    assert spoken("Mire", ["Mirela"]) == "Mire"
    assert spoken("Mired in", ["Mirela"], complete=False) == "Mired in"
