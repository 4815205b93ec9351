import pytest

from inference.types import Sampling, parse_sampling, sampling_range


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("temperature", 3, "at least 0 and at most 2"),
        ("temperature", -0.1, "at least 0"),
        ("temperature", float("nan"), "a number"),
        ("top_p", 0, "more than 0 and at most 1"),
        ("top_k", -1, "a whole number, at least 0"),
        ("min_p", 1.5, "at most 1"),
        ("repetition_penalty", 0.5, "at least 1"),
        ("max_new_tokens", 0, "at least 1"),
        ("max_new_tokens", 99999, "at most 4096"),
        ("seed", -1, "at least 0"),
        ("temperature", "hot", "a number"),
    ],
)
def test_out_of_range_names_the_setting_and_the_range(
    name: str, value: object, allowed: str
) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        parse_sampling({name: value})
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_setting_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no sampling setting 'topp'.*top_p"):
        parse_sampling({"topp": 1})


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stop = .* at most 32 texts, none of them empty"):
        parse_sampling({"stop": ("",)})


def test_replace_checks_too() -> None:
    assert Sampling().replace(seed=4).seed == 4
    with pytest.raises(ValueError, match="top_p"):
        Sampling().replace(top_p=2)


def test_every_setting_has_a_range_in_words() -> None:
    assert all(sampling_range(name) for name in Sampling.model_fields)


def test_names_join_the_breakers_as_far_as_there_is_room() -> None:
    spared = Sampling(dry_sequence_breakers=("\n", "Vera")).sparing(["Vera", "Noor Costa"])
    assert spared.dry_sequence_breakers == ("\n", "Vera", "Noor Costa")
    many = Sampling().sparing([f"Name {number}" for number in range(50)])
    assert len(many.dry_sequence_breakers) == 32
    assert many.dry_sequence_breakers[:4] == Sampling().dry_sequence_breakers
