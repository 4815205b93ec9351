"""Continuous batching: rows join and leave at any step, each with its own adapter and sampling."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.engine.adapter_store import AdapterStore
from inference.engine.cuda_graphs import CudaCapture, DecodeGraphs
from inference.engine.interface import EngineRequest, EngineStats, TokenEvent
from inference.engine.linears import WeightFormat, fastest_lossless_format
from inference.engine.prefix_cache import PrefixCache
from inference.engine.runner import Pass, Runner
from inference.engine.sampler import Choice, Sampler
from inference.engine.schedule import Row, Work, build_pass, finishing
from inference.types import InferenceError, RequestRefused

log = logging.getLogger(__name__)

# what torch raises for a row's fault or for want of memory (OutOfMemoryError is a RuntimeError)
_FAULTS = (RuntimeError, IndexError, ValueError)
_SMALLEST_CHUNK = 16
_READ_WAIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How much memory and time the engine may take."""

    rows: int = 8
    context: int = 2048  # tokens of prompt and reply together
    weight_format: WeightFormat | None = None  # None: the fastest that keeps the quality
    prefill_chunk: int = 32  # prompt tokens a step while replies stream; bounds their stall
    idle_prefill_chunk: int = 512  # while none does
    prefix_bytes: int = 1 << 30
    adapter_columns: int = 256  # ranks of all adapters that can be in the batch together
    adapter_bytes: int = 1 << 30  # adapters kept in host memory


class BatchEngine:
    """The rows of one LLaMA-family model on one device; they advance together, a token a step."""

    def __init__(
        self,
        model: Any,
        end_ids: Set[int],
        settings: EngineSettings | None = None,
        vocabulary: Sequence[str] = (),
    ) -> None:
        """`vocabulary` holds each token's text, by id; only DRY's sequence breakers need it."""
        self._settings = settings = settings or EngineSettings()
        device = model.model.embed_tokens.weight.device
        self._runner = Runner(
            model,
            rows=settings.rows,
            context=settings.context,
            form=settings.weight_format or fastest_lossless_format(device),
            columns=settings.adapter_columns,
        )
        self._forward_pass: Callable[[Pass], Tensor] = self._runner.forward
        if device.type == "cuda":
            self._forward_pass = DecodeGraphs(self._runner.forward, CudaCapture())
        self._end_ids = frozenset(end_ids)
        self._adapters = AdapterStore(
            self._runner.lora, self._runner.head_dim, settings.adapter_bytes
        )
        self._prefixes = PrefixCache(settings.prefix_bytes)
        self._sampler = Sampler(
            settings.rows, self._runner.vocabulary_size, self._runner.context, device, vocabulary
        )
        self._rows: list[Row | None] = [None] * settings.rows
        self._arrivals: list[Row] = []  # rows in the batch, oldest first
        self._chunk_limit = settings.idle_prefill_chunk
        self._steps = self._generated = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def capacity(self) -> int:
        return len(self._rows)

    @property
    def active(self) -> int:
        return len(self._arrivals)

    @property
    def free_rows(self) -> int:
        return self.capacity - self.active

    def insert(self, request: EngineRequest) -> None:
        """Take a row for `request`; its adapter, if not in memory, is read meanwhile.

        Raises `InferenceError` if it can never run: prompt too long, tokens the model does not
        have, an adapter that cannot be mixed with others.
        """
        if not self.free_rows:
            raise RequestRefused("Every row of the engine is taken; wait until a reply ends.")
        if any(row.request.id == request.id for row in self._arrivals):
            raise RequestRefused(f"The request {request.id} is already being answered.")
        self._check_prompt(request.prompt)
        plan = self._adapters.plan(request.adapter) if request.adapter else None
        index = self._rows.index(None)
        row = Row(request, plan, list(request.prompt))
        self._sampler.begin(index, request.prompt, request.sampling, request.seed)
        self._rows[index] = row
        self._arrivals.append(row)

    def remove(self, request_id: str) -> None:
        """Free the row of `request_id` at once; what it has read stays cached."""
        for row in self._arrivals:
            if row.request.id == request_id:
                self._free(row)
                return

    def next(self) -> list[TokenEvent]:
        """One step: a chunk of the prompts that are being read, and a token for every reply."""
        events = self._seat_adapters()
        self._close_gap()
        work = self._plan()
        if not work:
            if self._arrivals and not events:
                self._adapters.wait(_READ_WAIT_SECONDS)
            return events
        for done, logits in self._compute(work, events):
            events += self._advance(done, logits)
        self._count(events)
        return events

    def stats(self) -> EngineStats:
        seconds = self._recent[-1][0] - self._recent[0][0] if len(self._recent) > 1 else 0.0
        tokens = sum(count for _, count in list(self._recent)[1:])
        return EngineStats(
            active=self.active,
            waiting_for_adapter=sum(not row.seated for row in self._arrivals),
            steps=self._steps,
            generated_tokens=self._generated,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            prompt_tokens=self._prefixes.asked_tokens,
            prefix_hit_tokens=self._prefixes.hit_tokens,
            prefix_bytes=self._prefixes.bytes,
            adapters_in_batch_memory=self._adapters.in_columns,
            adapter_loads=self._adapters.loads,
        )

    def close(self) -> None:
        """End the thread that reads adapters."""
        self._adapters.close()

    # -- the parts of a step, in order -----------------------------------------------------------

    def _seat_adapters(self) -> list[TokenEvent]:
        """Give columns to rows whose adapter has been read; oldest first, so none starves."""
        failed: list[TokenEvent] = []
        for row in [row for row in self._arrivals if not row.seated]:
            if row.plan is not None:
                try:
                    row.columns = self._adapters.acquire(row.plan)
                except (InferenceError, OSError, *_FAULTS) as error:
                    failed.append(self._fail(row, str(error)))
                    continue
                if row.columns is None:
                    if self._adapters.is_read(row.plan):
                        break  # no columns are free; who came later must not take them first
                    continue
            row.seated = True
        return failed

    def _close_gap(self) -> None:
        """Move the last row down once half of the rows up to it are empty: decoding spans them."""
        last = max((i for i, row in enumerate(self._rows) if row), default=-1)
        if self.active == 0 or last + 1 < 2 * self.active:
            return
        gap, row = self._rows.index(None), self._rows[last]
        assert row is not None
        self._runner.kv.move(last, gap, row.written)
        self._sampler.move(last, gap)
        self._rows[gap], self._rows[last] = row, None

    def _plan(self) -> Work:
        """All rows that stream decode; prompts share a bounded number of tokens, oldest first."""
        decode = tuple(i for i, row in enumerate(self._rows) if row and row.decoding)
        budget = self._settings.prefill_chunk if decode else self._settings.idle_prefill_chunk
        budget = min(budget, self._chunk_limit)
        chunks: list[tuple[int, int]] = []
        for row in self._arrivals:
            if budget and row.seated and not row.decoding:
                index = self._rows.index(row)
                if row.cached_tokens is None:
                    strip = self._runner.kv.strip(index, 0, row.prompt_length)
                    row.written = self._prefixes.restore(row.adapter_key, row.tokens, strip)
                    row.cached_tokens = row.written
                count = min(budget, row.prompt_length - row.written)
                chunks.append((index, count))
                budget -= count
        return Work(decode, tuple(chunks))

    def _compute(self, work: Work, events: list[TokenEvent]) -> list[tuple[Work, Tensor]]:
        """The logits of `work`; where that fails, of as much of it as can be saved.

        Rows that had to be given up are added to `events`. A pass that failed has changed nothing
        that a second one would not write again.
        """
        while work:
            try:
                return [(work, self._forward(work))]
            except _FAULTS as error:
                if not _is_memory(error):
                    return self._compute_alone(work, events)
                log.warning("Out of memory in a step of the engine: %s", error)
                work = self._save_memory(work, events)
        return []

    def _forward(self, work: Work) -> Tensor:
        columns = self._runner.lora.prepare(self._adapters.used_columns())
        return self._forward_pass(build_pass(self._runner, self._rows, work, columns))

    def _save_memory(self, work: Work, events: list[TokenEvent]) -> Work:
        """Give up cached prefixes first, then longer chunks, then the newest reply."""
        if len(self._prefixes):
            self._prefixes.evict(0)
        elif work.chunks and self._chunk_limit > _SMALLEST_CHUNK:
            self._chunk_limit = max(self._chunk_limit // 2, _SMALLEST_CHUNK)
        else:
            newest = next(r for r in reversed(self._arrivals) if self._rows.index(r) in work.rows())
            events.append(
                self._fail(newest, "The model ran out of memory; try again when it is less busy.")
            )
        if self._runner.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._plan()

    def _compute_alone(self, work: Work, events: list[TokenEvent]) -> list[tuple[Work, Tensor]]:
        """Each row by itself, so that a fault ends only the row whose fault it is."""
        done: list[tuple[Work, Tensor]] = []
        for part in work.alone():
            try:
                done.append((part, self._forward(part)))
            except _FAULTS as error:
                row = self._rows[part.rows()[0]]
                assert row is not None
                log.exception("The reply %s failed.", row.request.id)
                events.append(self._fail(row, f"The model failed on this reply: {error}"))
        return done

    def _advance(self, work: Work, logits: Tensor) -> list[TokenEvent]:
        """Note what was written, choose a token for every row that has logits, and report it."""
        ready = finishing(work, self._rows)
        for index in work.decode:
            self._row(index).written += 1
        for index, count in work.chunks:
            self._row(index).written += count
        if not ready:
            return []
        choices = self._sampler.choose(logits, ready)
        return [
            self._take(self._row(index), choice)
            for index, choice in zip(ready, choices, strict=True)
        ]  # fmt: skip

    def _take(self, row: Row, choice: Choice | None) -> TokenEvent:
        """Add a token to its reply, ending it where it ends."""
        if choice is None:
            # masked positions are multiplied by zero, which does not silence what is not finite
            self._runner.kv.clear(self._rows.index(row))
            row.written = 0
            return self._fail(row, "The model's output was not finite; choose another adapter.")
        if not row.decoding:
            self._remember(row)  # other channels may already share this beginning
        cached = row.cached_tokens or 0
        if choice.token in self._end_ids:
            self._free(row)
            return TokenEvent(row.request.id, finish="stop", cached_tokens=cached)
        row.tokens.append(choice.token)
        generated = len(row.tokens) - row.prompt_length
        full = len(row.tokens) >= self._runner.context
        full = full or generated >= row.request.sampling.max_new_tokens
        if full:
            self._free(row)
        return TokenEvent(
            row.request.id,
            choice.token,
            finish="length" if full else None,
            cached_tokens=cached,
            logprob=choice.logprob,
            top_logprobs=choice.top,
        )

    # -- rows ------------------------------------------------------------------------------------

    def _check_prompt(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise RequestRefused("The prompt is empty.")
        if len(prompt) >= self._runner.context:
            raise RequestRefused(
                f"The prompt has {len(prompt)} tokens but the model's context only"
                f" {self._runner.context}; lower prompt.context_tokens."
            )
        size = self._runner.vocabulary_size
        if min(prompt) < 0 or max(prompt) >= size:
            raise RequestRefused(
                f"The prompt holds token {max(prompt)} but the model knows only {size}; the"
                " tokenizer belongs to another model."
            )

    def _row(self, index: int) -> Row:
        row = self._rows[index]
        assert row is not None, "a row that was given work is in the batch"
        return row

    def _fail(self, row: Row, reason: str) -> TokenEvent:
        self._free(row)
        return TokenEvent(row.request.id, finish="error", error=reason)

    def _free(self, row: Row) -> None:
        self._remember(row)
        index = self._rows.index(row)
        self._sampler.end(index)
        self._rows[index] = None
        self._arrivals.remove(row)
        if row.seated and row.plan is not None:
            self._adapters.release(row.plan)

    def _remember(self, row: Row) -> None:
        """Keep what the row has in the cache for whoever begins with the same text."""
        strip = self._runner.kv.strip(self._rows.index(row), 0, row.written)
        try:
            self._prefixes.store(row.adapter_key, row.tokens[: row.written], strip)
        except _FAULTS as error:
            if not _is_memory(error):
                raise
            log.warning("No memory is left for prefixes; half of them are forgotten.")
            self._prefixes.evict(self._prefixes.bytes // 2)

    def _count(self, events: list[TokenEvent]) -> None:
        tokens = sum(event.token is not None for event in events)
        self._steps += 1
        self._generated += tokens
        self._recent.append((time.monotonic(), tokens))


def _is_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
