"""Penalties that look at what a row has said: vectorised over rows, no sorting, no hashing.

All take scores [rows, vocabulary] and change them in place. `history` [rows, longest] holds each
row's tokens from the left, `lengths` [rows] how many; what lies behind is ignored.
"""

from __future__ import annotations

import torch
from torch import Tensor

# longest repeated run that DRY tells apart; its penalty is astronomical long before
LONGEST_MATCH = 50


def penalise_seen(scores: Tensor, history: Tensor, factors: Tensor) -> None:
    """Divide (or multiply, if negative) the scores of tokens in `history` (Keskar et al. 2019).

    `history` must be padded with tokens of the same row. `factors` [rows]; 1 is off.
    """
    seen = scores.gather(1, history)
    factor = factors[:, None]
    scores.scatter_(1, history, torch.where(seen < 0, seen * factor, seen / factor))


def penalise_counts(scores: Tensor, counts: Tensor, frequency: Tensor, presence: Tensor) -> None:
    """Subtract `frequency` for every time a token was generated and `presence` once (OpenAI)."""
    scores.sub_(counts * frequency[:, None]).sub_((counts > 0) * presence[:, None])


def matches(history: Tensor, lengths: Tensor, barrier: Tensor | None, longest: int) -> Tensor:
    """How many tokens before each position equal the row's last ones: [rows, longest history].

    Entry [b, i] counts the tokens that end at i - 1 and agree, from the back, with the end of row
    b; at position i stands what followed them. `barrier` [rows, vocabulary] is true for tokens over
    which no match goes. 0 where i is not inside the row.
    """
    width = history.shape[1]
    index = torch.arange(width, device=history.device)
    found = torch.zeros_like(history)
    alive = (index > 0) & (index < lengths[:, None])
    for back in range(1, min(longest, width - 1) + 1):
        last = history.gather(1, (lengths[:, None] - back).clamp_min(0))
        earlier = torch.roll(history, back, dims=1)
        alive = alive & (earlier == last) & (index >= back) & (lengths[:, None] > back)
        if barrier is not None:
            alive = alive & ~barrier.gather(1, last)
        if not alive.any():
            break
        found += alive
    return found


def ban_repeated_ngrams(scores: Tensor, history: Tensor, lengths: Tensor, sizes: Tensor) -> None:
    """Forbid tokens that would complete an n-gram the row already has; `sizes` [rows], 0 is off."""
    longest = int(sizes.max()) - 1
    found = matches(history, lengths, None, longest)
    inside = torch.arange(history.shape[1], device=history.device) < lengths[:, None]
    banned = inside & (found >= sizes[:, None] - 1) & (sizes[:, None] > 0)
    rows, places = banned.nonzero(as_tuple=True)
    scores[rows, history[rows, places]] = -torch.inf


def penalise_dry(
    scores: Tensor,
    history: Tensor,
    lengths: Tensor,
    barrier: Tensor,
    multiplier: Tensor,
    base: Tensor,
    allowed: Tensor,
) -> None:
    """DRY ("don't repeat yourself", p-e-w): a token that would lengthen a repetition of n ≥ allowed
    tokens loses multiplier · base^(n - allowed); the longest repetition counts.
    """
    found = matches(history, lengths, barrier, LONGEST_MATCH)
    excess = found - allowed[:, None]
    penalty = multiplier[:, None] * base[:, None] ** excess.clamp_min(0)
    penalty = torch.where((excess >= 0) & (found > 0), penalty, torch.zeros_like(penalty))
    total = torch.zeros_like(scores)
    total.scatter_reduce_(1, history, penalty.to(scores.dtype), "amax")
    scores.sub_(total)
