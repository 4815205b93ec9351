"""The plain engine: transformers and PEFT, one reply at a time. The reference for faster ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.adapters import AdapterError, AdapterInfo
from inference.engine.interface import EngineRequest, TokenEvent
from inference.model_loading import LoadedModel
from inference.types import RequestRefused, Sampling

_LOADED_ADAPTERS = 8  # kept in memory; least recently used leave first


@dataclass
class _Row:
    request: EngineRequest
    sequence: torch.Tensor  # (1, tokens so far)
    warpers: LogitsProcessorList
    generator: torch.Generator
    cache: DynamicCache = field(default_factory=DynamicCache)
    new_tokens: int = 0


class PlainEngine:
    """Implements `inference.engine.interface.Engine` with room for one row."""

    capacity = 1

    def __init__(self, loaded: LoadedModel) -> None:
        self._base = loaded.model
        self._end_ids = loaded.end_ids
        self._context = loaded.info.context_length
        self._device = loaded.model.device
        self._row: _Row | None = None
        self._peft: PeftModel | None = None
        self._adapters: OrderedDict[str, None] = OrderedDict()

    @property
    def active(self) -> int:
        return 0 if self._row is None else 1

    def insert(self, request: EngineRequest) -> None:
        if len(request.prompt) >= self._context:
            raise RequestRefused(
                f"The prompt has {len(request.prompt)} tokens but the model's context only"
                f" {self._context}; lower prompt.context_tokens."
            )
        if request.adapter is not None:
            self._ensure_loaded(request.adapter)
        generator = torch.Generator(self._device)
        generator.manual_seed(request.seed)
        self._row = _Row(
            request,
            torch.tensor([request.prompt], device=self._device),
            _warpers(request.sampling),
            generator,
        )

    def remove(self, request_id: str) -> None:
        if self._row is not None and self._row.request.id == request_id:
            self._row = None

    def next(self) -> list[TokenEvent]:
        row = self._row
        if row is None:
            return []
        try:
            event = self._advance(row)
        except RuntimeError as error:  # out of memory above all: this reply ends, the worker lives
            event = TokenEvent(row.request.id, finish="error", error=_sentence(error))
        if event.finish is not None:
            self._row = None
        return [event]

    @torch.inference_mode()
    def _advance(self, row: _Row) -> TokenEvent:
        fresh = row.sequence[:, row.cache.get_seq_length() :]
        logits = self._forward(row, fresh)[:, -1].float()
        token = self._choose(row, logits)
        if token in self._end_ids:
            return TokenEvent(row.request.id, finish="stop")
        row.sequence = torch.cat([row.sequence, row.sequence.new_tensor([[token]])], dim=1)
        row.new_tokens += 1
        full = row.new_tokens >= row.request.sampling.max_new_tokens
        full = full or row.sequence.shape[1] >= self._context
        return TokenEvent(row.request.id, token, finish="length" if full else None)

    def _forward(self, row: _Row, fresh: torch.Tensor) -> torch.Tensor:
        model: Any = self._base
        if self._peft is not None:
            model = self._peft
            if row.request.adapter is None:
                with self._peft.disable_adapter():
                    return self._logits(model, row, fresh)
            self._peft.set_adapter(_key(row.request.adapter))
        return self._logits(model, row, fresh)

    @staticmethod
    def _logits(model: Any, row: _Row, fresh: torch.Tensor) -> torch.Tensor:
        out = model(input_ids=fresh, past_key_values=row.cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = out.logits
        return logits

    @staticmethod
    def _choose(row: _Row, logits: torch.Tensor) -> int:
        scores: torch.Tensor = row.warpers(cast(torch.LongTensor, row.sequence), logits)
        if row.request.sampling.temperature == 0:
            return int(scores.argmax())
        weights = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(weights, 1, generator=row.generator))

    def _ensure_loaded(self, adapter: AdapterInfo) -> None:
        key = _key(adapter)
        if key not in self._adapters:
            if len(self._adapters) >= _LOADED_ADAPTERS and self._peft is not None:
                oldest, _ = self._adapters.popitem(last=False)
                self._peft.delete_adapter(oldest)
            self._load(adapter, key)
        self._adapters[key] = None
        self._adapters.move_to_end(key)

    def _load(self, adapter: AdapterInfo, key: str) -> None:
        # PEFT casts half-precision adapters to float32 unless told not to; on a CPU that is right.
        options = {"adapter_name": key, "autocast_adapter_dtype": self._device.type == "cpu"}
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._base, str(adapter.folder), **options)
            else:
                self._peft.load_adapter(str(adapter.folder), **options)
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            raise AdapterError(
                f"Adapter {adapter.label} cannot be loaded: {_first_line(error)}"
            ) from error
        self._peft.eval()


def _key(adapter: AdapterInfo) -> str:
    # The hash, not the name: a version that was deleted and made again is another adapter. PEFT
    # takes names as module names, which must not hold a dot.
    return f"{adapter.name}-{adapter.version}-{adapter.card.weights_hash[:16]}"


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    found = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        found.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature == 0:
        return found
    if sampling.temperature != 1:
        found.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        found.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        found.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        found.append(MinPLogitsWarper(sampling.min_p))
    return found


def _sentence(error: RuntimeError) -> str:
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
        return "The model ran out of memory on this reply; lower prompt.context_tokens."
    return f"The model failed on this reply: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
