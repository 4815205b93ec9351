"""Continuous batching: rows join and leave at any step, each with its own adapter and sampling."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from inference.engine.adapter_store import AdapterStore
from inference.engine.batch import Batch
from inference.engine.cuda_graphs import CudaCapture, DecodeGraphs
from inference.engine.headroom import Headroom
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
_READ_WAIT_SECONDS = 0.02
_NO_MEMORY = "The model ran out of memory; try again when it is less busy."

Given = TypeVar("Given")
Result = TypeVar("Result")


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
        self._batch = Batch(settings.rows, self._runner.kv, self._sampler, self._adapters)
        self._headroom = Headroom(settings.rows, settings.idle_prefill_chunk)
        self._steps = self._generated = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def capacity(self) -> int:
        return len(self._batch.rows)

    @property
    def active(self) -> int:
        return len(self._batch.replies)

    @property
    def free_rows(self) -> int:
        return self.capacity - self.active

    def insert(self, request: EngineRequest) -> None:
        """Take on `request`; its adapter, if not in memory, is read meanwhile.

        Raises `InferenceError` if it can never run: prompt too long, tokens the model does not
        have, an adapter that cannot be mixed with others.
        """
        if not self.free_rows:
            raise RequestRefused("Every row of the engine is taken; wait until a reply ends.")
        if self._batch.find(request.id):
            raise RequestRefused(f"The request {request.id} is already being answered.")
        plan = self._adapters.plan(request.adapter) if request.adapter else None
        row = Row.waiting(request, plan)
        self._check_prompt(row)
        self._sampler.prepare(request.sampling)
        self._batch.replies.append(row)

    def remove(self, request_id: str) -> None:
        """Free the row of `request_id` at once; what it has read stays cached."""
        if row := self._batch.find(request_id):
            self._free(row)

    def next(self) -> list[TokenEvent]:
        """One step: a chunk of the prompts that are being read, and a token for every reply."""
        events = [*self._give_rows(), *self._seat_adapters()]
        # decoding spans the empty rows, too
        self._batch.close_gap(empty=len(self._batch.placed))
        parts = self._compute(events)
        if not parts:
            if self.active and not events:
                self._adapters.wait(_READ_WAIT_SECONDS)
            return events
        for work, choices in parts:
            events += self._advance(work, choices)
        self._count(events)
        return events

    def stats(self) -> EngineStats:
        seconds = self._recent[-1][0] - self._recent[0][0] if len(self._recent) > 1 else 0.0
        tokens = sum(count for _, count in list(self._recent)[1:])
        return EngineStats(
            active=self.active,
            waiting_for_adapter=sum(not row.seated for row in self._batch.placed),
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

    def _give_rows(self) -> list[TokenEvent]:
        """Rows of the batch for those who wait, oldest first, while memory has room for them."""
        failed: list[TokenEvent] = []
        for row in self._batch.waiting:
            others = len(self._batch.placed)
            if others >= self._headroom.rows:
                break
            try:
                self._sparing(self._batch.place, row)
            except _FAULTS as error:
                if _is_memory(error) and self._headroom.lower_rows(others):
                    break
                failed.append(self._fail(row, _reason(error)))
        return failed

    def _seat_adapters(self) -> list[TokenEvent]:
        """Give columns to rows whose adapter has been read; oldest first, so none starves."""
        failed: list[TokenEvent] = []
        for row in [row for row in self._batch.placed if not row.seated]:
            if row.plan is not None:
                try:
                    held = self._sparing(self._adapters.acquire, row.plan)
                except (InferenceError, OSError, *_FAULTS) as error:
                    failed.append(self._fail(row, _reason(error)))
                    continue
                if held is None:
                    if self._adapters.is_read(row.plan):
                        break  # no columns are free; who came later must not take them first
                    continue
                row.columns, row.soft_prompt = held
            row.seated = True
        return failed

    def _plan(self) -> Work:
        """All rows that stream decode; prompts share a bounded number of tokens, oldest first."""
        decode = tuple(i for i, row in enumerate(self._batch.rows) if row and row.decoding)
        budget = self._settings.prefill_chunk if decode else self._settings.idle_prefill_chunk
        budget = min(budget, self._headroom.chunk)
        chunks: list[tuple[int, int]] = []
        for row in self._batch.placed:
            if budget and row.seated and not row.decoding:
                if not row.restored:
                    self._restore(row)
                count = min(budget, row.to_read - row.written)
                chunks.append((row.place, count))
                budget -= count
        return Work(decode, tuple(chunks))

    def _restore(self, row: Row) -> None:
        """Copy what the prefix cache knows of the row's text."""
        strip = self._runner.kv.strip(row.place, 0, row.to_read)
        row.written = self._prefixes.restore(row.adapter_key, row.tokens, strip)
        row.restored = True
        if not row.generated:
            row.cached_tokens = max(row.written - row.virtual_tokens, 0)

    def _compute(self, events: list[TokenEvent]) -> list[tuple[Work, list[Choice | None]]]:
        """The next step's work, and the choices it led to; of as much as can be saved if it fails.

        Rows that had to be given up are added to `events`. A pass that failed has changed nothing
        that a second one would not write again.
        """
        while True:
            work = Work(())
            try:
                work = self._plan()
                done = [(work, self._choose(work))] if work else []
            except _FAULTS as error:
                if not _is_memory(error):
                    if not work:
                        raise
                    return self._compute_alone(work, events)
                log.warning("Out of memory in a step of the engine: %s", error)
            else:
                self._headroom.passed()
                return done
            # not inside the handler: the error holds on to the tensors of the pass that failed
            self._save_memory(work, events)

    def _choose(self, work: Work) -> list[Choice | None]:
        """Run the model, and choose a token for each row that this step gives one."""
        columns = self._adapters.used_columns()
        logits = self._forward_pass(build_pass(self._runner, self._batch.rows, work, columns))
        ready = finishing(work, self._batch.rows)
        return self._sampler.choose(logits, ready) if ready else []

    def _save_memory(self, work: Work, events: list[TokenEvent]) -> None:
        """Do without cached prefixes; else shorter chunks; else fewer rows; else the newest reply.

        Shorter chunks and fewer rows are for a while only (`Headroom`).
        """
        placed = self._batch.placed
        if len(self._prefixes):
            self._forget_prefixes()
        elif self._headroom.lower_chunk(work.prompt_tokens):
            pass  # the same rows once more, with less of their prompts
        elif self._headroom.lower_rows(len(placed) // 2):
            for row in placed[self._headroom.rows :]:
                self._batch.leave(row)
            while self._batch.close_gap(empty=1):
                pass
        else:
            events.append(self._fail(placed[-1], _NO_MEMORY))
        if self._runner.device.type == "cuda":
            torch.cuda.empty_cache()

    def _compute_alone(
        self, work: Work, events: list[TokenEvent]
    ) -> list[tuple[Work, list[Choice | None]]]:
        """Each row by itself, so that a fault ends only the row whose fault it is."""
        done: list[tuple[Work, list[Choice | None]]] = []
        for part in work.alone():
            try:
                done.append((part, self._choose(part)))
            except _FAULTS as error:
                row = self._batch[part.rows()[0]]
                if _is_memory(error):  # it has lost nothing, and the next step finds memory
                    log.warning("Out of memory in the reply %s: %s", row.request.id, error)
                    continue
                log.exception("The reply %s failed.", row.request.id)
                events.append(self._fail(row, f"The model failed on this reply: {error}"))
        return done

    def _advance(self, work: Work, choices: list[Choice | None]) -> list[TokenEvent]:
        """Note what was written, and report the token of every row that has one."""
        ready = finishing(work, self._batch.rows)
        for index in work.decode:
            self._batch[index].written += 1
        for index, count in work.chunks:
            self._batch[index].written += count
        return [
            self._take(self._batch[index], choice)
            for index, choice in zip(ready, choices, strict=True)
        ]  # fmt: skip

    def _take(self, row: Row, choice: Choice | None) -> TokenEvent:
        """Add a token to its reply, ending it where it ends."""
        if choice is None:
            # masked positions are multiplied by zero, which does not silence what is not finite
            self._runner.kv.clear(row.place)
            row.written = 0
            return self._fail(row, "The model's output was not finite; choose another adapter.")
        if not row.decoding:
            self._remember(row)  # other channels may already share this beginning
        cached = row.cached_tokens
        if choice.token in self._end_ids:
            self._free(row)
            return TokenEvent(row.request.id, finish="stop", cached_tokens=cached)
        row.tokens.append(choice.token)
        full = len(row.tokens) >= self._runner.context
        full = full or len(row.generated) >= row.request.sampling.max_new_tokens
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

    def _check_prompt(self, row: Row) -> None:
        prompt = row.request.prompt
        if not prompt:
            raise RequestRefused("The prompt is empty.")
        if len(row.tokens) >= self._runner.context:
            soft = f" and its adapter {row.virtual_tokens} more" if row.virtual_tokens else ""
            raise RequestRefused(
                f"The prompt has {len(prompt)} tokens{soft} but the model's context only"
                f" {self._runner.context}; lower prompt.context_tokens."
            )
        size = self._runner.vocabulary_size
        if min(prompt) < 0 or max(prompt) >= size:
            raise RequestRefused(
                f"The prompt holds token {max(prompt)} but the model knows only {size}; the"
                " tokenizer belongs to another model."
            )

    def _fail(self, row: Row, reason: str) -> TokenEvent:
        self._free(row)
        return TokenEvent(row.request.id, finish="error", error=reason)

    def _free(self, row: Row) -> None:
        if row.index is not None:
            self._remember(row)
            self._batch.leave(row)
        self._batch.replies.remove(row)

    def _remember(self, row: Row) -> None:
        """Keep what the row has in the cache for whoever begins with the same text."""
        strip = self._runner.kv.strip(row.place, 0, row.written)
        try:
            self._prefixes.store(row.adapter_key, row.tokens[: row.written], strip)
        except _FAULTS as error:
            if not _is_memory(error):
                raise
            log.warning("No memory is left for prefixes; half of them are forgotten.")
            self._prefixes.evict(self._prefixes.bytes // 2)

    def _forget_prefixes(self) -> None:
        log.warning("Cached prefixes are forgotten, %d bytes.", self._prefixes.bytes)
        self._prefixes.evict(0)

    def _sparing(self, action: Callable[[Given], Result], argument: Given) -> Result:
        """What `action` returns; where memory ends, once more without the cached prefixes."""
        try:
            return action(argument)
        except _FAULTS as error:
            if not _is_memory(error) or not len(self._prefixes):
                raise
        self._forget_prefixes()
        return action(argument)

    def _count(self, events: list[TokenEvent]) -> None:
        tokens = sum(event.token is not None for event in events)
        self._steps += 1
        self._generated += tokens
        self._recent.append((time.monotonic(), tokens))


def _is_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _reason(error: Exception) -> str:
    """Of a reply's end, for who waits for it."""
    return _NO_MEMORY if _is_memory(error) else str(error)
