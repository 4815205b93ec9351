import pytest

from inference.quarantine import Quarantine
from inference.types import GenerationRequest, Message, RequestRefused


def _ask(text: str = "fatal") -> GenerationRequest:
    return GenerationRequest(messages=(Message(role="user", content=text),))


def test_three_deaths_in_a_minute_set_the_words_aside_for_a_while() -> None:
    now = [0.0]
    quarantine = Quarantine(lambda: now[0])
    for now[0] in (0.0, 20.0):
        quarantine.note_death(_ask())
    quarantine.check(_ask())
    now[0] = 59.0
    quarantine.note_death(_ask())
    with pytest.raises(RequestRefused, match="set aside for 10 minutes"):
        quarantine.check(_ask())
    quarantine.check(_ask("harmless"))
    now[0] = 59.0 + 601
    quarantine.check(_ask())


def test_deaths_far_apart_are_bad_luck() -> None:
    now = [0.0]
    quarantine = Quarantine(lambda: now[0])
    for now[0] in (0.0, 50.0, 100.0):
        quarantine.note_death(_ask())
    quarantine.check(_ask())


def test_a_lone_surrogate_does_not_break_the_count() -> None:
    quarantine = Quarantine(lambda: 0.0)
    quarantine.note_death(_ask("\ud800"))
    quarantine.check(_ask("\ud800"))
