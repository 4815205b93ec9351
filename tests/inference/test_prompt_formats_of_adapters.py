"""An adapter serves the prompt format that it learnt, or says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.adapters import AdapterCard, AdapterError, AdapterInfo, check_prompt_format


def adapter(prompt_format: str) -> AdapterInfo:
    card = AdapterCard(
        base_model="m", base_fingerprint="f", prompt_format=prompt_format, weights_hash="h"
    )
    return AdapterInfo("vex", 2, Path(), promoted=True, card=card)


def test_another_format_than_the_serving_one_is_one_sentence() -> None:
    with pytest.raises(AdapterError, match=r'vex@2 .* alpaca, not tokenizer; set .* to "alpaca"'):
        check_prompt_format(adapter("alpaca"), "tokenizer")
    with pytest.raises(AdapterError, match='to "auto"'):
        check_prompt_format(adapter("tokenizer"), "chatml")


@pytest.mark.parametrize("serving", ["alpaca", "the server's", ""])
def test_the_same_or_an_unknown_format_serves(serving: str) -> None:
    check_prompt_format(adapter("alpaca"), serving)
    check_prompt_format(None, serving)
