"""The penalty of the unwanted."""

from __future__ import annotations

import math

import pytest
import torch

from finetune.training.replies import token_losses


def test_wanted_tokens_are_made_likely_and_unwanted_ones_unlikely() -> None:
    log_probs = torch.tensor([[math.log(0.25), math.log(0.25)]])
    losses = token_losses(log_probs, torch.tensor([[False, True]]), weight=2.0)
    assert losses[0].tolist() == pytest.approx([-math.log(0.25), -2 * math.log(0.75)])


def test_a_certain_token_has_a_finite_penalty_and_gradient() -> None:
    log_probs = torch.tensor([[0.0]], requires_grad=True)
    loss = token_losses(log_probs, torch.tensor([[True]]), weight=1.0).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()


def test_the_gradient_pushes_down_what_is_unwanted() -> None:
    log_probs = torch.tensor([[math.log(0.5), math.log(0.5)]], requires_grad=True)
    token_losses(log_probs, torch.tensor([[False, True]]), weight=1.0).sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0, 0] < 0 < log_probs.grad[0, 1]
