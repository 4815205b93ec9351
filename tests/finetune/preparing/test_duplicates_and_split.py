"""Nothing stands twice in a set, and nothing of the validation leaks into the training."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetune.preparing.duplicates import Seen
from finetune.preparing.split import split
from tests.finetune.preparing.talk import talk

STORY = (
    "The harbour was quiet when the last ship came in, with torn sails and a cargo of lamps that"
    " nobody had ordered; the master of the port counted them twice, wrote a number into his book"
    " and went back to his soup, which had grown cold."
)


def test_copies_are_found_exactly_and_nearly() -> None:
    seen = Seen(0.85)
    assert seen.new(STORY)
    assert not seen.new(f"  {STORY.upper()}\n")
    assert not seen.new(STORY.replace("cold", "warm"))
    assert (seen.exact, seen.nearly) == (1, 1)
    assert seen.new("A quite different story about a lighthouse and the woman who kept it lit.")
    assert seen.new("")
    assert not seen.new(" ")


def test_similarity_one_finds_exact_copies_only() -> None:
    seen = Seen(1.0)
    assert seen.new(STORY)
    assert seen.new(STORY.replace("cold", "warm"))
    assert not seen.new(STORY)


SIZES = st.dictionaries(
    st.integers(0, 10**6).map("discord:{}".format), st.integers(1, 30), min_size=1, max_size=30
)


@given(sizes=SIZES, share=st.floats(0, 0.5))
def test_no_channel_stands_on_both_sides(sizes: dict[str, int], share: float) -> None:
    dialogues = [talk(*["x"] * (2 * n), source=source) for source, n in sizes.items()]
    parts = split(dialogues, share)
    train = {one.source for one in parts.train}
    validation = {one.source for one in parts.validation}
    assert len(parts.train) + len(parts.validation) == len(dialogues)
    assert parts.train
    if parts.by == "channel":
        assert not train & validation
        held = sum(one.replies for one in parts.validation)
        assert 0 < held <= 2 * share * sum(sizes.values())


def test_a_channel_keeps_its_side_when_others_come() -> None:
    def held(count: int) -> set[str]:
        dialogues = [talk("a", "b", source=f"discord:{n}") for n in range(count)]
        return {one.source for one in split(dialogues, 0.1).validation}

    early, late = held(200), held(400)
    assert early == {source for source in late if int(source[8:]) < 200}
    assert 20 < len(late) < 60


def test_one_channel_is_split_by_time() -> None:
    # All of one time: the last are the newest.
    old = [talk(f"Question {n}?", "b", source="discord:1") for n in range(20)]
    parts = split(old, 0.1)
    assert parts.by == "dialogue"
    assert "only one channel" in parts.note
    assert list(parts.validation) == old[-2:]


def test_one_dialogue_is_not_split() -> None:
    parts = split([talk("a", "b")], 0.1)
    assert (parts.by, parts.validation) == ("nothing", ())
    assert "only one dialogue" in parts.note
