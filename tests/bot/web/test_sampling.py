"""The settings that the page offers."""

from __future__ import annotations

import pytest

from bot.errors import CommandError
from bot.web.sampling import INSTRUCTED, OFFERED, limits, own_settings, seed_of
from config import SamplingSettings
from inference.types import Sampling, parse_sampling


@pytest.mark.parametrize("name", OFFERED)
def test_every_value_of_a_slider_is_possible(name: str) -> None:
    least, most, step = limits(name)
    whole = Sampling.model_fields[name].annotation is int
    for value in (least, least + step, most):
        parse_sampling({name: int(value) if whole else value})
    for value in (least - step - 0.001, most + step):
        with pytest.raises(ValueError, match=name):
            parse_sampling({name: value})


def test_generate_s_settings_are_possible() -> None:
    assert tuple(INSTRUCTED) == OFFERED
    parse_sampling(dict(INSTRUCTED))


def test_seeds() -> None:
    assert seed_of(" ") is None
    assert seed_of(" 12 ") == 12
    for wrong in ("-1", "1.5", "seed", str(2**63), "9" * 30):
        with pytest.raises(CommandError, match="whole number"):
            seed_of(wrong)


def test_a_channel_keeps_what_the_form_does_not_offer() -> None:
    before: dict[str, object] = {"dry_multiplier": 0.0, "top_k": 5}
    own = own_settings(SamplingSettings(), before, {"top_k": 0, "temperature": 0.2, "seed": None})
    assert own == {"dry_multiplier": 0.0, "temperature": 0.2}
