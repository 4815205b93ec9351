"""Tokens that end a repetition for DRY: those that hold a sequence breaker or spell one.

A breaker of several tokens (a name, as a rule) is found where it stands in the prompt; otherwise
DRY would make a character misspell its own name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

_MASKS_KEPT = 16
_SHORTEST_NAME = 2  # characters


class SequenceBreakers:
    """Masks over a vocabulary, made once for each set of breakers.

    The texts are searched as one long string: a pass over a vocabulary token by token takes long
    enough to be heard in every reply that is streaming.
    """

    def __init__(self, vocabulary: Sequence[str], size: int, device: torch.device) -> None:
        """`size` is that of the model's output, which may exceed the vocabulary's."""
        texts = vocabulary[:size]
        self._texts = texts
        self._size = size
        self._device = device
        self._text = "".join(texts)
        self._ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self._masks: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    def mask(self, breakers: tuple[str, ...]) -> Tensor:
        """Which tokens' text contains one of `breakers`: bool [size]."""
        found = self._masks.get(breakers)
        if found is None:
            found = self._masks[breakers] = self._make(breakers).to(self._device)
            if len(self._masks) > _MASKS_KEPT:
                self._masks.popitem(last=False)
        self._masks.move_to_end(breakers)
        return found

    def spelt(self, prompt: Sequence[int], breakers: tuple[str, ...]) -> list[int]:
        """The tokens of `prompt` that together spell one of the breakers that are words."""
        if not self._texts:
            return []
        texts = [self._texts[token] if token < len(self._texts) else "" for token in prompt]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        whole = "".join(texts)
        found: set[int] = set()
        for breaker in breakers:
            if len(breaker) < _SHORTEST_NAME or not (breaker[0] + breaker[-1]).isalnum():
                continue
            place = whole.find(breaker)
            while place >= 0:
                first = int(np.searchsorted(ends, place, side="right"))
                last = int(np.searchsorted(ends, place + len(breaker), side="left"))
                found.update(prompt[first : last + 1])
                place = whole.find(breaker, place + len(breaker))
        return sorted(token for token in found if token < self._size)

    def _make(self, breakers: tuple[str, ...]) -> Tensor:
        mask = np.zeros(self._size, dtype=np.bool_)
        for breaker in breakers:
            if not breaker:
                mask[: len(self._ends)] = True
                continue
            starts = np.fromiter(self._places(breaker), dtype=np.int64)
            tokens = np.searchsorted(self._ends, starts, side="right")
            inside = starts + len(breaker) <= self._ends[tokens]  # not over two tokens' border
            mask[tokens[inside]] = True
        return torch.from_numpy(mask)

    def _places(self, breaker: str) -> Iterator[int]:
        place = self._text.find(breaker)
        while place >= 0:
            yield place
            place = self._text.find(breaker, place + 1)
