"""Each row's settings act as transformers' (or their authors') own implementation does."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.engine.sampler import Sampler, sample_nucleus, uniform
from inference.types import Sampling

SIZE = 40
PROMPT = [3, 4, 5, 3, 4, 6, 3, 4]


def sampler_for(*settings: Sampling, seeds: list[int] | None = None, **options: Any) -> Sampler:
    sampler = Sampler(len(settings), SIZE, 64, torch.device("cpu"), **options)
    for row, sampling in enumerate(settings):
        sampler.begin(row, PROMPT, sampling, seeds[row] if seeds else row)
    return sampler


def of(**changes: Any) -> Sampling:
    return Sampling(**{"temperature": 1.0, "top_p": 1.0, **changes})


def logits_of(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed)) * 2


def tokens(sampler: Sampler, logits: Tensor, rows: list[int] | None = None) -> list[int]:
    found = sampler.choose(logits, rows if rows is not None else list(range(len(logits))))
    return [choice.token for choice in found if choice is not None]


WARPERS: list[tuple[dict[str, Any], list[Any]]] = [
    ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
    ({"top_p": 0.6}, [TopPLogitsWarper(0.6)]),
    ({"top_k": 3}, [TopKLogitsWarper(3)]),
    ({"min_p": 0.2}, [MinPLogitsWarper(0.2)]),
    ({"repetition_penalty": 1.5}, [RepetitionPenaltyLogitsProcessor(1.5)]),
    ({"no_repeat_ngram": 3}, [NoRepeatNGramLogitsProcessor(3)]),
    (
        {"repetition_penalty": 1.3, "temperature": 1.4, "top_k": 9, "top_p": 0.8, "min_p": 0.05},
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            TemperatureLogitsWarper(1.4),
            TopKLogitsWarper(9),
            TopPLogitsWarper(0.8),
            MinPLogitsWarper(0.05),
        ],
    ),
]


@pytest.mark.parametrize(("settings", "warpers"), WARPERS, ids=lambda value: str(value)[:40])
def test_the_distribution_is_that_of_transformers(
    settings: dict[str, Any], warpers: list[Any]
) -> None:
    rows = 4000
    logits = logits_of(1)
    processors = LogitsProcessorList(warpers)
    expected = processors(cast(torch.LongTensor, torch.tensor([PROMPT])), logits.clone())[
        0
    ].softmax(-1)
    sampler = sampler_for(*[of(**settings)] * rows)
    drawn = torch.tensor(tokens(sampler, logits.expand(rows, -1)))
    found = torch.bincount(drawn, minlength=SIZE) / rows
    assert (found[expected == 0] == 0).all()
    # five standard deviations of a count, and one draw
    assert ((found - expected).abs() <= 5 * (expected / rows).sqrt() + 1 / rows).all()


def test_rows_keep_their_own_settings_side_by_side() -> None:
    logits = logits_of(1).expand(4, -1)
    best = int(logits[0].argmax())
    settings = (
        of(temperature=0.0),
        of(temperature=0.0, logit_bias={7: 100.0}),
        of(temperature=0.0, logit_bias={best: -100.0}),
        of(temperature=2.0, top_k=1),
    )
    second = int(logits[0].topk(2).indices[1])
    assert tokens(sampler_for(*settings), logits) == [best, 7, second, best]


def test_a_row_without_penalties_is_not_touched_by_its_neighbours() -> None:
    logits = logits_of(2)
    plain = tokens(sampler_for(of(), seeds=[5]), logits[1:])
    heavy = of(
        repetition_penalty=1.9,
        frequency_penalty=1.5,
        presence_penalty=1.0,
        no_repeat_ngram=2,
        dry_multiplier=2.0,
        logit_bias={3: 9.0},
        top_k=2,
        top_p=0.3,
        min_p=0.3,
    )
    assert tokens(sampler_for(heavy, of(), seeds=[1, 5]), logits)[1:] == plain


def test_a_seed_reproduces_a_row_wherever_it_stands() -> None:
    logits = logits_of(1)
    alone = sampler_for(of(), seeds=[42])
    series = [tokens(alone, logits)[0] for _ in range(20)]
    crowd = sampler_for(of(temperature=0.5), of(), of(), seeds=[1, 2, 42])
    assert [tokens(crowd, logits.expand(3, -1))[2] for _ in range(10)] == series[:10]
    crowd.end(0)
    crowd.move(2, 0)
    assert [tokens(crowd, logits, [0])[0] for _ in range(10)] == series[10:]
    assert len(set(series)) > 5
    other = sampler_for(of(), seeds=[43])
    assert [tokens(other, logits)[0] for _ in range(20)] != series


def test_frequency_and_presence_count_what_was_generated() -> None:
    sampler = sampler_for(
        of(temperature=0.0, frequency_penalty=1.0), of(temperature=0.0, presence_penalty=1.5)
    )
    logits = torch.zeros(2, SIZE)
    logits[:, 3], logits[:, 8], logits[:, 9] = 2.6, 2.0, 0.9
    said = [tokens(sampler, logits) for _ in range(5)]
    # 3 stands in the prompt, which does not count
    assert [row for row, _ in said] == [3, 8, 3, 8, 9]
    assert [row for _, row in said] == [3, 8, 3, 3, 3]


def test_dry_punishes_the_longest_repetition_it_would_lengthen() -> None:
    """Against a plain loop over the definition."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        text = torch.randint(3, 7, (40,), generator=generator).tolist()
        allowed, multiplier, base = 2, 0.8, 1.75
        expected = torch.zeros(SIZE)
        for place in range(1, len(text)):
            length = 0
            while (
                length < place
                and text[place - 1 - length] == text[-1 - length]
                and text[-1 - length] != 6
            ):
                length += 1
            if length >= allowed:
                penalty = multiplier * base ** (length - allowed)
                expected[text[place]] = max(float(expected[text[place]]), penalty)
        vocabulary = ["x"] * 6 + ["a\n"] + ["y"] * (SIZE - 7)
        sampler = Sampler(1, SIZE, 64, torch.device("cpu"), vocabulary)
        settings = of(dry_multiplier=multiplier, dry_base=base, dry_allowed_length=allowed)
        sampler.begin(0, text, settings, 0)
        scores = sampler._penalised(torch.zeros(1, SIZE), torch.tensor([0]))
        assert torch.allclose(-scores[0], expected, rtol=1e-4)


def test_log_probabilities_are_the_models_own() -> None:
    logits = logits_of(3)
    sampler = sampler_for(
        of(temperature=0.0, logprobs=3, logit_bias={8: 100.0}), of(), of(logprobs=0)
    )
    biased, silent, only_own = sampler.choose(logits, [0, 1, 2])
    assert biased is not None
    assert silent is not None
    assert only_own is not None
    expected = logits[0].log_softmax(-1)
    assert biased.token == 8
    assert biased.logprob == pytest.approx(float(expected[8]))
    assert [token for token, _ in biased.top] == expected.topk(3).indices.tolist()
    assert (silent.logprob, silent.top) == (None, ())
    assert only_own.logprob is not None
    assert only_own.top == ()


def test_logits_that_are_not_finite_give_no_token() -> None:
    logits = logits_of(2)
    logits[0, 5] = torch.nan
    assert [choice is None for choice in sampler_for(of(), of()).choose(logits, [0, 1])] == [
        True,
        False,
    ]


def test_uniform_numbers_are_uniform() -> None:
    seeds = torch.arange(20_000)
    for step, draw in ((0, 0), (1, 0), (0, 1), (77, 3)):
        numbers = uniform(seeds, torch.full_like(seeds, step), draw)
        assert 0 <= numbers.min() <= numbers.max() < 1
        counts = torch.histc(numbers.float(), 20, 0, 1)
        assert ((counts - 1000).abs() < 6 * 31).all()
    one = uniform(torch.zeros(20_000, dtype=torch.long), seeds, 0)
    assert abs(float(one.mean()) - 0.5) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([one[:-1], one[1:]]))[0, 1])) < 0.04


def test_the_largest_seed_is_usable() -> None:
    token = sample_nucleus(
        torch.full((1, 4), 0.25),
        torch.tensor([0.5]),
        torch.tensor([0.0]),
        torch.tensor([2**63 - 1]),
        torch.tensor([0]),
    )
    assert 0 <= int(token) < 4
