"""The masks of DRY's sequence breakers, against a look at every token."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.engine.breakers import SequenceBreakers
from inference.engine.sampler import Sampler
from tests.inference.engine.conftest import END, ask

texts = st.text(alphabet='ab:"\n', max_size=4)


@given(st.lists(texts, max_size=20), st.lists(texts, max_size=4), st.integers(0, 3))
def test_a_token_breaks_if_its_own_text_holds_a_breaker(
    vocabulary: list[str], breakers: list[str], more: int
) -> None:
    size = len(vocabulary) + more
    mask = SequenceBreakers(vocabulary, size, torch.device("cpu")).mask(tuple(breakers))
    expected = [any(breaker in text for breaker in breakers) for text in vocabulary]
    assert mask.tolist() == expected + [False] * more


def test_texts_beyond_the_models_output_are_left_out() -> None:
    breakers = SequenceBreakers(["a", ":", ":"], 2, torch.device("cpu"))
    assert breakers.mask((":",)).tolist() == [False, True]


def test_masks_are_made_once_and_the_oldest_forgotten() -> None:
    breakers = SequenceBreakers(["a", "b", "ab"], 3, torch.device("cpu"))
    first = breakers.mask(("a",))
    assert breakers.mask(("a",)) is first
    for number in range(100):
        breakers.mask((str(number),))
    assert breakers.mask(("a",)) is not first
    assert len(breakers._masks) <= 16


def test_the_step_finds_the_mask_made(base: LlamaForCausalLM) -> None:
    """Taking on a request makes the mask, so that no step has to."""
    vocabulary = [chr(65 + token % 26) for token in range(211)]
    engine = BatchEngine(base, {END}, EngineSettings(rows=1, context=64), vocabulary)
    sampler: Sampler = engine._sampler
    engine.insert(ask("0", [5, 6], dry_multiplier=0.8, dry_sequence_breakers=("A", "BC")))
    made = sampler._breakers._masks["A", "BC"]
    engine.next()
    assert sampler._breakers._masks["A", "BC"] is made
    assert torch.equal(sampler._barriers[0], made)
    engine.close()


def test_a_name_of_several_tokens_is_found_where_the_prompt_spells_it() -> None:
    vocabulary = ["It", "'s", " No", "or", " Costa", " Vera", ". ", "Veranda", " x"]
    breakers = SequenceBreakers(vocabulary, len(vocabulary) + 3, torch.device("cpu"))
    prompt = [0, 1, 2, 3, 4, 6, 0, 8, 3, 10]
    assert breakers.spelt(prompt, ("Noor Costa", "\n")) == [2, 3, 4]
    assert breakers.spelt(prompt, ("Noor", "Vera", ". ")) == [2, 3]
    assert breakers.spelt([8, 0], ("Noor",)) == []
    assert SequenceBreakers((), 3, torch.device("cpu")).spelt([0, 1], ("Noor",)) == []
