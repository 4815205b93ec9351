"""Choosing the next token of many rows at once, each by its own settings and seed.

The order is transformers': penalties, bias, temperature, top_k, top_p, min_p. There is no sorting:
top_p draws from all tokens and draws again, above the refused token, until a draw lies in the
nucleus (FlashInfer's rejection sampling), which leaves the distribution exact.

A row's random numbers are a hash of its seed and of how many tokens it has generated, so they do
not depend on which rows are in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engine import repetition
from inference.engine.breakers import SequenceBreakers
from inference.types import Sampling

# settings whose value the step needs per row, with the value that switches them off
_OFF: dict[str, float] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "no_repeat_ngram": 0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
}
_MOST_DRAWS = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """One row's token; with log-probabilities of the model itself where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Settings and history of `rows` rows, as tensors on one device."""

    def __init__(
        self,
        rows: int,
        vocabulary_size: int,
        context: int,
        device: torch.device,
        vocabulary: Sequence[str] = (),
    ) -> None:
        self._device = device
        self._size = vocabulary_size
        self._values = {
            name: torch.full((rows,), off, dtype=torch.float32, device=device)
            for name, off in _OFF.items()
        }
        self._seeds = torch.zeros(rows, dtype=torch.long, device=device)
        self._history = torch.zeros(rows, context + 1, dtype=torch.long, device=device)
        self._lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._prompts = torch.zeros(rows, dtype=torch.long, device=device)
        self._counts = torch.zeros(rows, vocabulary_size, device=device)
        self._barriers = torch.zeros(rows, vocabulary_size, dtype=torch.bool, device=device)
        self._breakers = SequenceBreakers(vocabulary, vocabulary_size, device)
        self._settings: dict[int, Sampling] = {}
        self._bias: tuple[Tensor, Tensor, Tensor] | None = None
        self._bias_is_old = False

    def prepare(self, sampling: Sampling) -> None:
        """Do what takes long for new settings, before a row is taken for them."""
        if sampling.dry_multiplier:
            self._breakers.mask(sampling.dry_sequence_breakers)

    def begin(
        self,
        row: int,
        prompt: Sequence[int],
        sampling: Sampling,
        seed: int,
        generated: Sequence[int] = (),
    ) -> None:
        """Take over a row for a reply to `prompt` that goes on after `generated`."""
        self._settings[row] = sampling
        for name, values in self._values.items():
            values[row] = getattr(sampling, name)
        self._seeds[row] = seed
        # padded with a token of the prompt, which penalties may meet any number of times
        self._history[row] = prompt[0]
        text = torch.tensor([*prompt, *generated], device=self._device)
        self._history[row, : len(text)] = text
        self._lengths[row], self._prompts[row] = len(text), len(prompt)
        self._counts[row] = text[len(prompt) :].bincount(minlength=self._size)
        if sampling.dry_multiplier:
            breakers = sampling.dry_sequence_breakers
            self._barriers[row] = self._breakers.mask(breakers)
            self._barriers[row, self._breakers.spelt(prompt, breakers)] = True
        self._bias_is_old = True

    def end(self, row: int) -> None:
        self._settings.pop(row, None)
        for name, values in self._values.items():
            values[row] = _OFF[name]
        self._bias_is_old = True

    def move(self, source: int, target: int) -> None:
        """Row `source` goes on as row `target`."""
        state = (self._seeds, self._history, self._lengths, self._prompts, self._counts)
        for tensor in (*state, self._barriers, *self._values.values()):
            tensor[target] = tensor[source]
        self._settings[target] = self._settings[source]
        self.end(source)

    @torch.inference_mode()
    def choose(self, logits: Tensor, rows: Sequence[int]) -> list[Choice | None]:
        """The next token of each of `rows` from `logits` [rows, vocabulary] in float32.

        Each choice enters its row's history. None for a row whose logits are not finite numbers.
        """
        if self._bias_is_old:
            self._collect_bias()
        index = torch.tensor(rows, device=self._device)
        finite = torch.isfinite(logits.sum(-1))
        scores = torch.where(finite[:, None], logits, torch.zeros_like(logits))
        tokens = self._draw(self._penalised(scores.clone(), index), index)
        chosen = [Choice(token) for token in tokens.tolist()]
        if any(self._settings[row].logprobs is not None for row in rows):
            chosen = self._with_logprobs(scores, rows, chosen)
        # last: a choice that fails for want of memory can be made again
        self._history[index, self._lengths[index]] = tokens
        self._lengths[index] += 1
        self._counts[index, tokens] += 1
        return [
            one if fine else None for one, fine in zip(chosen, finite.tolist(), strict=True)
        ]  # fmt: skip

    def _wants(self, name: str) -> bool:
        return any(getattr(s, name) != _OFF[name] for s in self._settings.values())

    def _penalised(self, scores: Tensor, index: Tensor) -> Tensor:
        value = {name: values[index] for name, values in self._values.items()}
        lengths = self._lengths[index]
        history = self._history[index, : int(lengths.max())]
        if self._bias is not None:
            self._add_bias(scores, index)
        if self._wants("repetition_penalty"):
            repetition.penalise_seen(scores, history, value["repetition_penalty"])
        if self._wants("frequency_penalty") or self._wants("presence_penalty"):
            repetition.penalise_counts(
                scores, self._counts[index], value["frequency_penalty"], value["presence_penalty"]
            )
        if self._wants("dry_multiplier"):
            repetition.penalise_dry(
                scores,
                history,
                lengths,
                self._barriers[index],
                value["dry_multiplier"],
                value["dry_base"],
                value["dry_allowed_length"],
            )
        if self._wants("no_repeat_ngram"):
            repetition.ban_repeated_ngrams(scores, history, lengths, value["no_repeat_ngram"])
        return scores

    def _draw(self, scores: Tensor, index: Tensor) -> Tensor:
        best = scores.argmax(-1)
        temperature = self._values["temperature"][index]
        if not self._wants("temperature"):
            return best
        # greedy rows ride along at any temperature; their draw is not used
        scores = scores / torch.where(temperature > 0, temperature, 1.0)[:, None]
        if self._wants("top_k"):
            scores = _keep_top_k(scores, self._values["top_k"][index].long())
        generated = self._lengths[index] - self._prompts[index]
        drawn = sample_nucleus(
            scores.softmax(-1),
            self._values["top_p"][index],
            self._values["min_p"][index],
            self._seeds[index],
            generated,
        )
        return torch.where(temperature > 0, drawn, best)

    def _collect_bias(self) -> None:
        entries = [
            (row, token, bias)
            for row, sampling in self._settings.items()
            for token, bias in sampling.logit_bias.items()
            if token < self._size
        ]
        self._bias = None
        if entries:
            rows, tokens, biases = zip(*entries, strict=True)
            self._bias = (
                torch.tensor(rows, device=self._device),
                torch.tensor(tokens, device=self._device),
                torch.tensor(biases, dtype=torch.float32, device=self._device),
            )
        self._bias_is_old = False

    def _add_bias(self, scores: Tensor, index: Tensor) -> None:
        assert self._bias is not None
        rows, tokens, biases = self._bias
        here = rows[:, None] == index  # which line of `scores` a bias belongs to, if any
        which, line = here.nonzero(as_tuple=True)
        scores.index_put_((line, tokens[which]), biases[which], accumulate=True)

    def _with_logprobs(
        self, logits: Tensor, rows: Sequence[int], chosen: list[Choice]
    ) -> list[Choice]:
        asked = [self._settings[row].logprobs for row in rows]
        logprobs = logits.log_softmax(-1)
        most = max(count or 0 for count in asked)
        values, tokens = (part.tolist() for part in logprobs.topk(most))
        found: list[Choice] = []
        for line, (one, count) in enumerate(zip(chosen, asked, strict=True)):
            if count is None:
                found.append(one)
                continue
            top = tuple(zip(tokens[line][:count], values[line][:count], strict=True))
            found.append(Choice(one.token, float(logprobs[line, one.token]), top))
        return found


def sample_nucleus(
    probabilities: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, step: Tensor
) -> Tensor:
    """One token per row of `probabilities` [rows, vocabulary], within top_p and then min_p.

    The nucleus is the smallest set of most likely tokens that holds `top_p` of the probability.
    """
    largest = probabilities.amax(-1, keepdim=True)
    allowed = torch.where(probabilities >= min_p[:, None] * largest, probabilities, 0.0)
    token = torch.zeros_like(seeds)
    settled = torch.zeros_like(seeds, dtype=torch.bool)
    for draw in range(_MOST_DRAWS):
        cumulative = allowed.cumsum(-1, dtype=torch.float64)
        total = cumulative[:, -1:]
        point = uniform(seeds, step, draw)[:, None] * total
        new = torch.searchsorted(cumulative, point, right=True)
        new = new.clamp_max(probabilities.shape[-1] - 1)
        likelihood = probabilities.gather(1, new)
        above = torch.where(probabilities > likelihood, probabilities, 0.0).sum(-1)
        token = torch.where(settled, token, new[:, 0])
        settled = settled | (above < top_p) | (top_p >= 1)
        if settled.all():
            return token
        # whatever is no likelier than a refused token is outside the nucleus, too
        allowed = torch.where(probabilities > likelihood, allowed, 0.0)
    return torch.where(settled, token, probabilities.argmax(-1))


def uniform(seeds: Tensor, step: Tensor, draw: int) -> Tensor:
    """Float64 in [0, 1) per row: splitmix64 (Steele et al. 2014) of seed, step and draw."""
    state = _mix(_mix(seeds + 0x1E3779B97F4A7C15) + step * _MOST_DRAWS + draw)
    return _shifted(state, 11).double() * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _keep_top_k(scores: Tensor, top_k: Tensor) -> Tensor:
    """-inf for all but each row's `top_k` best; 0 keeps all."""
    most = min(int(top_k.max()), scores.shape[-1])
    best = scores.topk(most).values
    last = best.gather(1, (top_k.clamp(1, most) - 1)[:, None])
    return scores.masked_fill((scores < last) & (top_k[:, None] > 0), -torch.inf)
